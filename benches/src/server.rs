//! What is measured against a server.

use std::{
    process::{Command, ExitCode},
    sync::Arc,
};

use bench::{BoxError, ExitStatus};

/// Runs `measure` to its end, beside one thread that serves the connections; `true`: every bar was met.
pub fn run_to_end(name: &str, measure: impl Future<Output = Result<bool, BoxError>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime.map_err(BoxError::from).and_then(|runtime| runtime.block_on(measure)) {
        Ok(true) => ExitStatus::Ok.into(),
        Ok(false) => ExitStatus::Threshold.into(),
        Err(error) => {
            bench::complain(&format!("{name}: {error}"));
            ExitStatus::Failed.into()
        }
    }
}

/// Runs `depth` tasks, each with `each` requests one after the other; a request gets its number among all.
///
/// # Errors
///
/// That of the first request that failed.
pub async fn in_flight<R, E>(
    depth: u64,
    each: u64,
    request: impl Fn(u64) -> R + Send + Sync + 'static,
) -> Result<(), BoxError>
where
    R: Future<Output = Result<(), E>> + Send,
    E: Into<BoxError> + Send + 'static,
{
    let request = Arc::new(request);
    let tasks: Vec<_> = (0..depth)
        .map(|task| {
            let request = Arc::clone(&request);
            tokio::spawn(async move {
                for index in 0..each {
                    request(task * each + index).await?;
                }
                Ok::<(), E>(())
            })
        })
        .collect();
    for task in tasks {
        task.await?.map_err(Into::into)?;
    }
    Ok(())
}

/// The middle one.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Has the server's own load tool send `command` over one connection, `depth` at a time, with `__rand_int__` in it
/// below `keys`. Gives its rate, and the seconds of processor time that it took.
///
/// # Errors
///
/// When it is not there, or says something else than a rate.
pub fn redis_benchmark(
    url: &str,
    requests: u64,
    depth: u64,
    keys: u64,
    command: &[&str],
) -> Result<(f64, f64), BoxError> {
    let address = url.trim_start_matches("redis://");
    let (host, port) = address.rsplit_once(':').ok_or("--url is redis://HOST:PORT here")?;
    let mut bash = Command::new("bash");
    bash.args(["-c", "TIMEFORMAT='%U %S'; time \"$@\"", "bash", "redis-benchmark", "-h", host, "-p", port]);
    bash.args(["-c", "1", "-P", &depth.to_string(), "-n", &requests.to_string(), "-r", &keys.to_string()]);
    let output = bash.arg("--csv").args(command).output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let failed = || format!("redis-benchmark: {} {}", stdout.trim(), stderr.trim());
    // "EVALSHA ...","123456.78",...
    let row = stdout.lines().last().ok_or_else(failed)?;
    let per_second = row.split("\",\"").nth(1).and_then(|rate| rate.parse().ok()).ok_or_else(failed)?;
    let seconds: Option<Vec<f64>> =
        stderr.lines().last().map(|line| line.split(' ').filter_map(|field| field.parse().ok()).collect());
    let used = seconds.filter(|seconds| seconds.len() == 2).ok_or_else(failed)?.iter().sum();
    Ok((per_second, used))
}
