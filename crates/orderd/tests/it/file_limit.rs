//! A process with a low limit on open files.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Stack, in_time, orders};

/// A `/healthz` that takes longer has failed, for those that probe it.
const PROBE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn idle_readers_take_no_files_from_healthz_and_the_intake() {
    for files in [64, 256] {
        let mut stack = Stack::new();
        let script = stack.temp_dir.path().join("orderd-with-few-files");
        let program = stack.program.display();
        std::fs::write(&script, format!("#!/bin/sh\nulimit -n {files}\nexec {program} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        stack.program = script;
        let service = stack.serve(&[]).await;
        let mut idle = Vec::new();
        for number in 0..files + 50 {
            let mut stream = TcpStream::connect(service.addr).await.unwrap();
            // Some send nothing, some wait for the response.
            if number % 2 == 0 {
                stream.write_all(b"GET /mem_len HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            }
            idle.push(stream);
        }
        for _ in 0..3 {
            let begun = Instant::now();
            let answer = in_time("it is answered", service.get_once("/healthz")).await;
            assert_eq!(answer.status, StatusCode::OK);
            let log = service.process.log();
            assert!(begun.elapsed() < PROBE, "{files} files: {:?}: {log}", begun.elapsed());
        }
        stack.publish(&orders(20)).await;
        service.wait_len(20).await;
        let log = service.process.log();
        assert!(
            !log.contains("can't accept a connection") && !log.contains("os error 24"),
            "{files} files: {log}"
        );
        assert!(log.contains("limit of open files"), "{log}");
        drop(idle);
    }
}
