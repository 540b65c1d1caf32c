//! What only a server can show, a case at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io;

use rate_limiter::{
    Algorithm, Ask, Decision, Limit,
    redis::script::{self, Request, Script},
};

use crate::server::{Reply, Server};

/// `None` where the case is another file's.
pub(crate) fn run(case: &str, server: &mut Server) -> Option<io::Result<()>> {
    Some(match case {
        "a_key_is_kept_until_it_is_fresh" => a_key_is_kept_until_it_is_fresh(server),
        "a_denial_writes_nothing" => a_denial_writes_nothing(server),
        "what_is_not_ours_is_left_alone" => what_is_not_ours_is_left_alone(server),
        "the_time_is_the_servers" => the_time_is_the_servers(server),
        _ => return None,
    })
}

/// One of each script and rule, of 3 tokens a period.
fn limits(period: &str) -> Vec<Limit> {
    let quota = format!("3/{period}").parse().unwrap();
    let one = Algorithm::ALL.map(|algorithm| Limit::new(algorithm, quota).unwrap());
    let all = Limit::all_of(one.clone()).unwrap();
    let plain = Limit::all_of(one[..5].to_vec()).unwrap();
    one.into_iter().chain([all, plain]).collect()
}

fn eval(limit: &Limit, key: &str, request: Request) -> Vec<String> {
    let mut command =
        vec!["EVAL".to_owned(), Script::of(limit).text().to_owned(), "1".to_owned(), key.to_owned()];
    command.extend(script::arguments(limit, request, None).unwrap().iter().map(u64::to_string));
    command
}

fn ask(server: &mut Server, limit: &Limit, key: &str, ask: Ask) -> io::Result<Decision> {
    let reply = server.call(&eval(limit, key, Request::Ask(ask)))?;
    Ok(script::answer(&reply.integers()).unwrap().decision)
}

/// `command` and `PTTL`, at one instant.
fn with_time_to_live(server: &mut Server, command: &[String], key: &str) -> io::Result<(Vec<i64>, i64)> {
    server.push(&["MULTI"]);
    server.push(command);
    server.push(&["PTTL", key]);
    server.push(&["EXEC"]);
    let Some(Reply::Array(replies)) = server.flush()?.pop() else { panic!("no array") };
    Ok((replies[0].integers(), replies[1].integer()))
}

fn a_key_is_kept_until_it_is_fresh(server: &mut Server) -> io::Result<()> {
    let mut limits = limits("7777777us");
    // 82,000 years.
    let slow = "1/30day burst 1000000".parse().unwrap();
    limits.push(Limit::token_bucket(slow).unwrap());
    for (n, limit) in limits.iter().enumerate() {
        let key = format!("k{n}");
        let most = limit.parts().map(|part| part.quota().burst()).min().unwrap() as u32;
        for cost in [1, most - 1] {
            let command = eval(limit, &key, Request::Ask(Ask::Take(cost)));
            let (reply, kept) = with_time_to_live(server, &command, &key)?;
            let Decision::Allowed { reset_after, .. } = script::answer(&reply).unwrap().decision else {
                panic!("{reply:?}")
            };
            let fresh_in = reset_after.as_micros().div_ceil(1_000) as i64;
            if reset_after.as_micros() < 1 << 53 {
                assert_eq!(kept, fresh_in, "{limit:?}");
            } else {
                assert!(kept > fresh_in, "{limit:?}");
            }
        }
        // Of a bucket, all that was taken is given back; of others, nothing is known of before the window.
        let Decision::Denied { .. } = ask(server, limit, &key, Ask::Take(1))? else { panic!("{limit:?}") };
    }
    // A log without entries is forgotten; a bucket waits for what flowed in while its tokens were away, twice.
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindowLog] {
        let limit = Limit::new(algorithm, "3/h".parse().unwrap()).unwrap();
        let reply = server.call(&eval(&limit, "back", Request::Ask(Ask::Take(3))))?.integers();
        let taken_at = script::answer(&reply).unwrap().at;
        let mut left = 0;
        for cost in [1, 2] {
            assert_eq!(server.call(&["EXISTS", "back"])?.integer(), 1);
            let refund = Request::Refund { cost, taken_at };
            let (reply, kept) = with_time_to_live(server, &eval(&limit, "back", refund), "back")?;
            script::refunded(&reply).unwrap();
            assert!(kept <= 3_600_000, "{kept}");
            left = kept;
        }
        if algorithm == Algorithm::SlidingWindowLog {
            assert_eq!(server.call(&["EXISTS", "back"])?.integer(), 0);
        }
        assert!(left < 60_000, "{left}");
        server.call(&["DEL", "back"])?;
    }
    Ok(())
}

fn a_denial_writes_nothing(server: &mut Server) -> io::Result<()> {
    for (n, limit) in limits("h").iter().enumerate() {
        let key = format!("k{n}");
        for _ in 0..3 {
            assert!(ask(server, limit, &key, Ask::Take(1))?.is_allowed());
        }
        let written = writes(server)?;
        for request in
            [Ask::Take(1), Ask::TakeUpTo(2), Ask::Peek(1), Ask::Take(3), Ask::Take(4), Ask::Peek(9)]
        {
            assert!(!ask(server, limit, &key, request)?.is_allowed());
            assert!(!ask(server, limit, "never asked for", Ask::Take(4))?.is_allowed());
            assert!(ask(server, limit, "never asked for", Ask::Peek(3))?.is_allowed());
        }
        let refund = Request::Refund { cost: 1, taken_at: 1 };
        script::refunded(&server.call(&eval(limit, "never asked for", refund))?.integers()).unwrap();
        assert_eq!(writes(server)?, written, "{limit:?}");
    }
    Ok(())
}

/// What would be sent to replicas and the append-only file, counted.
fn writes(server: &mut Server) -> io::Result<u64> {
    let Reply::Bytes(info) = server.call(&["INFO", "persistence"])? else { panic!("no text") };
    let info = String::from_utf8(info).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
    Ok(line.unwrap().trim().parse().unwrap())
}

fn what_is_not_ours_is_left_alone(server: &mut Server) -> io::Result<()> {
    let newer: [&[u8]; 4] = [b"2b0123456789abcdef", b"", b"hello, somebody else's", &[0; 100]];
    for (n, limit) in limits("h").iter().enumerate() {
        let key = format!("k{n}");
        ask(server, limit, &key, Ask::Take(1))?;
        let Reply::Bytes(own) = server.call(&["GET", &key])? else { panic!("no value") };
        // Cut short, and of a letter that there is not.
        let mut damaged: Vec<Vec<u8>> =
            vec![own[..3.min(own.len() - 1)].to_vec(), own[..own.len() - 9].to_vec()];
        damaged.push([b"1z", &own[2..]].concat());
        if limit.parts().last().unwrap().algorithm() == Algorithm::SlidingWindowLog {
            damaged.push(own[..own.len() - 1].to_vec());
        }
        let cases = newer.iter().map(|value| (value.to_vec(), script::NEWER));
        let cases = cases.chain(damaged.into_iter().map(|value| (value, script::DAMAGED)));
        for (value, code) in cases {
            server.call(&[b"SET", key.as_bytes(), &value])?;
            for request in [
                Request::Ask(Ask::Take(1)),
                Request::Ask(Ask::Peek(1)),
                Request::Refund { cost: 1, taken_at: 1 << 51 },
            ] {
                let reply = server.call(&eval(limit, &key, request))?;
                assert_eq!(reply.error().split(' ').next(), Some(code), "{value:?} {reply:?} {limit:?}");
                assert_eq!(server.call(&["GET", &key])?, Reply::Bytes(value.clone()));
            }
        }
        server.call(&["DEL", &key])?;
        server.call(&["RPUSH", &key, "1"])?;
        let reply = server.call(&eval(limit, &key, Request::Ask(Ask::Take(1))))?;
        assert!(reply.error().starts_with("WRONGTYPE"), "{reply:?}");
        assert_eq!(server.call(&["LLEN", &key])?.integer(), 1);
    }
    Ok(())
}

fn the_time_is_the_servers(server: &mut Server) -> io::Result<()> {
    let time = |server: &mut Server| {
        let Reply::Array(parts) = server.call(&["TIME"])? else { panic!("no time") };
        let number = |part: &Reply| {
            let Reply::Bytes(digits) = part else { panic!("{part:?}") };
            String::from_utf8_lossy(digits).parse::<u64>().unwrap()
        };
        io::Result::Ok(number(&parts[0]) * 1_000_000 + number(&parts[1]))
    };
    for (n, limit) in limits("h").iter().enumerate() {
        let before = time(server)?;
        let reply = server.call(&eval(limit, &format!("k{n}"), Request::Ask(Ask::Take(1))))?;
        let answer = script::answer(&reply.integers()).unwrap();
        assert!((before..=time(server)?).contains(&answer.at), "{answer:?}");
    }
    Ok(())
}
