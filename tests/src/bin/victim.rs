//! A program to be supervised, which behaves and misbehaves on command.

use std::{
    env, fs,
    io::{Read, Write},
    os::fd::AsFd,
    path::Path,
    process::{self, ExitCode},
    thread,
    time::Duration,
};

const USAGE: &str = "usage: victim lines STOPFILE | start STARTSFILE | exit-when FILE CODE | serve";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["lines", stop] => lines(Path::new(stop)),
        ["start", starts] => start(Path::new(starts)),
        ["exit-when", file, code] => exit_when(Path::new(file), code),
        ["serve"] => serve(),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Writes numbered lines of varying length as fast as it can until the file exists; then the count
/// goes into `FILE.count`.
fn lines(stop: &Path) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut count: u64 = 0;
    while !stop.exists() {
        let mut block = Vec::with_capacity(64 * 1024);
        while block.len() < 32 * 1024 {
            block.extend_from_slice(rsv_tests::lines::line(count).as_bytes());
            count += 1;
        }
        if out.write_all(&block).and_then(|()| out.flush()).is_err() {
            return ExitCode::FAILURE;
        }
        // Breathing space for the machine: the promise is exactness, not a rate.
        thread::sleep(Duration::from_millis(1));
    }
    let target = stop.with_extension("count");
    let partial = stop.with_extension("partial");
    let written =
        fs::write(&partial, count.to_string()).and_then(|()| fs::rename(&partial, target));
    if written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Adds a line with its process id to the file and sleeps for ever.
fn start(starts: &Path) -> ExitCode {
    let file = fs::File::options().create(true).append(true).open(starts);
    if file
        .and_then(|mut file| writeln!(file, "{}", process::id()))
        .is_err()
    {
        return ExitCode::FAILURE;
    }
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Ends with the code as soon as the file exists.
fn exit_when(file: &Path, code: &str) -> ExitCode {
    while !file.exists() {
        thread::sleep(Duration::from_millis(5));
    }
    ExitCode::from(code.parse().unwrap_or(1))
}

/// Serves whoever connects to the socket that is descriptor 0: reads a line's worth and answers it with
/// the process id in front.
fn serve() -> ExitCode {
    let socket = std::io::stdin();
    loop {
        let Ok(connection) = rustix::net::accept(socket.as_fd()) else {
            return ExitCode::FAILURE;
        };
        let mut connection = fs::File::from(connection);
        let mut asked = [0; 64];
        // Who asks may have gone.
        if let Ok(size @ 1..) = connection.read(&mut asked) {
            let answer = format!(
                "{} {}",
                process::id(),
                String::from_utf8_lossy(&asked[..size])
            );
            connection.write_all(answer.as_bytes()).ok();
        }
    }
}
