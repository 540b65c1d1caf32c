//! A load that begins before a write and ends after it, under each protocol: `cargo run -p cache --example late_load`.
#![expect(clippy::print_stdout, reason = "an example")]

use std::sync::{Mutex, PoisonError};

use cache::{Cache, Floor, Memory, Protocol, Reads, Result, Row, Source, SourceError, Version};
use tokio::sync::Notify;

/// A row whose first load is slow: it has read, and does not answer until it is told to.
#[derive(Debug)]
struct Slow {
    row: Mutex<(u64, String)>,
    has_read: Notify,
    may_answer: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
}

impl Source<String, String> for Slow {
    fn reads(&self) -> Reads {
        Reads::Latest
    }

    async fn load(&self, _: &String) -> Result<Row<String>> {
        let (version, value) = self.row.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let slow = self.may_answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = slow {
            self.has_read.notify_one();
            let _ = answer.await;
        }
        Ok(Row::new(value, Version::new(version).unwrap_or_default()))
    }

    async fn store(&self, _: &String, value: Option<&String>) -> Result<Floor, SourceError> {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        *row = (row.0 + 1, value.cloned().unwrap_or_default());
        Ok(Floor::below(Version::new(row.0).unwrap_or_default()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for protocol in Protocol::ALL {
        let (answer, may_answer) = tokio::sync::oneshot::channel();
        let source = Slow {
            row: Mutex::new((1, "old".to_owned())),
            has_read: Notify::new(),
            may_answer: Mutex::new(Some(may_answer)),
        };
        let store = Memory::builder().capacity(100).build()?;
        let cache = Cache::builder(source, store).protocol(protocol).build()?;
        let key = "price".to_owned();

        let reader = tokio::spawn({
            let (cache, key) = (cache.clone(), key.clone());
            async move { cache.get(&key).await }
        });
        cache.source().has_read.notified().await;
        cache.write(&key, "new".to_owned()).await?;
        let _ = answer.send(());
        reader.await??;

        let kept = cache.get(&key).await?.unwrap_or_default();
        println!("{protocol:<13} the database has \"new\", the cache answers \"{kept}\"");
    }
    Ok(())
}
