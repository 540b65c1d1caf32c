use std::{io, path::Path};

use testkit::Server;

#[test]
fn a_server_that_ends_at_once_is_an_error_with_the_end_of_its_log() {
    let arguments = |_: u16, _: &Path| vec!["-c".into(), "echo cannot bind; exit 3".into()];
    let error = Server::start("/bin/sh", arguments, |_| Err(io::Error::other("no answer"))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("it ended") && text.contains("cannot bind"), "{text}");
}

#[test]
fn a_program_that_is_missing_is_an_error() {
    let error =
        Server::start("/nonexistent/server", |_, _| vec![], |_| Err(io::Error::other(""))).unwrap_err();
    assert!(error.to_string().contains("it ended"), "{error}");
}
