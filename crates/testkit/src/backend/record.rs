//! What `scripts/backends` has on record about a server that it started.

use std::{fs, net::TcpStream, path::Path, time::Duration};

use serde_json::Value;

use super::Backend;

/// Loopback answers in microseconds; the rest is for a machine under load.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// Whether `backend` was started by `scripts/backends`, and is that same process still, and listens.
pub(super) fn check(home: &Path, backend: Backend) -> Result<(), String> {
    let up = format!("scripts/backends up {backend}");
    let record = home.join("run").join(format!("{backend}.json"));
    let Ok(text) = fs::read_to_string(&record) else {
        return Err(format!("not running: {up}"));
    };
    let record: Value =
        serde_json::from_str(&text).map_err(|error| format!("{} is damaged: {error}", record.display()))?;
    if record["ready"] != true {
        return Err(format!("not ready yet: {up}"));
    }
    if let Some(dead) = dead_server(&record) {
        return Err(format!("{dead} died: {up}"));
    }
    let listens = |address| TcpStream::connect_timeout(&address, CONNECT_DEADLINE).is_ok();
    if backend.addresses().any(listens) { Ok(()) } else { Err(format!("not listening: {up}")) }
}

/// The name of a server on record that is no more. A container has no process on record.
fn dead_server(record: &Value) -> Option<&str> {
    let servers = record["servers"].as_object()?;
    let dead = |server: &Value| match (server["pid"].as_u64(), server["identity"].as_str()) {
        (Some(pid), Some(recorded)) => identity(pid).is_some_and(|now| now != recorded),
        _ => true,
    };
    servers.iter().find(|(_, server)| dead(server)).map(|(name, _)| name.as_str())
}

/// What tells a process from a later one with the same pid: boot and start time; empty when it is
/// dead, `None` where there is no `/proc` to tell.
fn identity(pid: u64) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let start = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
        // The second field, the name, may hold spaces and parentheses.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        fields.nth(18).filter(|_| !["Z", "X"].contains(&state)).map(str::to_owned)
    });
    Some(start.map_or_else(String::new, |start| format!("{}/{start}", boot.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn check_record(content: &str) -> Result<(), String> {
        let home = Scratch::new().unwrap();
        fs::create_dir(home.path().join("run")).unwrap();
        fs::write(home.path().join("run/redis.json"), content).unwrap();
        check(home.path(), Backend::Redis)
    }

    #[test]
    fn a_server_is_ours_only_while_the_recorded_process_lives() {
        let error = check(Path::new("/nonexistent"), Backend::Redis).unwrap_err();
        assert_eq!(error, "not running: scripts/backends up redis");
        let error = check_record(r#"{"docker": false, "ready": false, "servers": {}}"#).unwrap_err();
        assert!(error.starts_with("not ready yet"), "{error}");
        assert!(check_record("{").unwrap_err().contains("is damaged"));
        if cfg!(target_os = "linux") {
            // This very process, but of another boot.
            let pid = std::process::id();
            let servers = format!(r#"{{"redis": {{"pid": {pid}, "identity": "another-boot/1"}}}}"#);
            let error = check_record(&format!(r#"{{"ready": true, "servers": {servers}}}"#)).unwrap_err();
            assert_eq!(error, "redis died: scripts/backends up redis");
        }
    }

    #[test]
    fn a_process_is_told_from_a_dead_one() {
        let Some(own) = identity(std::process::id().into()) else { return };
        assert!(own.contains('/'), "{own}");
        assert_eq!(identity(u64::from(u32::MAX)).unwrap(), "");
    }
}
