//! Flags for limits that a server keeps.

use std::path::PathBuf;

use bench::Report;
use clap::Args;
use rate_limiter::Limit;

use crate::backend::Backend;

#[derive(Args)]
#[command(next_help_heading = "Servers")]
pub(crate) struct ServerArgs {
    /// Where the server is; of scylla, with a keyspace that exists [default: where scripts/backends starts it]
    #[arg(long)]
    url: Option<String>,
    /// Decide so many in a round trip [Redis]
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) batch: usize,
    /// Take permits in lots of up to N, and decide here; at most a hundredth of what a second grants
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) lease: Option<u32>,
    /// Wait with each decision until so many replicas have it [Redis]
    #[arg(long, value_name = "REPLICAS")]
    pub(crate) wait: Option<u32>,
    /// Share the quotas with other processes that are given the same name
    #[arg(long, value_name = "NAME")]
    pub(crate) share: Option<String>,
    /// Write what each key was granted to a file, as lines of key,count
    #[arg(long, value_name = "FILE")]
    pub(crate) tally: Option<PathBuf>,
}

fn count(text: &str) -> Result<u32, String> {
    let count = bench::format::parse_count(text)?;
    u32::try_from(count).map_err(|_| format!("{text} is more than {}", u32::MAX))
}

impl ServerArgs {
    pub(crate) fn check(&self, backend: Backend) -> Result<(), String> {
        let is_redis = matches!(backend, Backend::Redis | Backend::RedisCluster);
        let given = [
            ("--url", self.url.is_some(), backend != Backend::Memory),
            ("--lease", self.lease.is_some(), backend != Backend::Memory),
            ("--share", self.share.is_some(), backend != Backend::Memory),
            ("--tally", self.tally.is_some(), backend != Backend::Memory),
            ("--batch", self.batch != 1, is_redis || self.lease.is_some()),
            ("--wait", self.wait.is_some(), is_redis),
        ];
        for (flag, is_given, is_fit) in given {
            if is_given && !is_fit {
                return Err(format!("{flag} does not go with --backend {backend}"));
            }
        }
        if self.wait.is_some() && (self.lease.is_some() || self.batch > 1) {
            return Err("--wait goes with neither --lease nor --batch".to_owned());
        }
        if self.lease == Some(0) || self.batch == 0 || self.batch > 10_000 {
            return Err("--lease takes at least 1, --batch from 1 to 10,000".to_owned());
        }
        Ok(())
    }

    pub(crate) fn url(&self, backend: Backend) -> &str {
        self.url.as_deref().unwrap_or_else(|| backend.url())
    }
}

impl crate::Args {
    /// The flags that decide what is measured.
    pub(crate) fn describe(&self, limit: &Limit, report: &mut Report) {
        let mut flag = |name: &str, value: String| report.config.insert(name.to_owned(), value);
        flag("backend", self.backend.to_string());
        for part in limit.parts() {
            flag("algorithm", part.algorithm().to_string());
            flag("quota", part.quota().to_string());
        }
        flag("keys", self.keys.to_string());
        flag("distribution", self.distribution.to_string());
    }
}
