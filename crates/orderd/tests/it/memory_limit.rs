//! Low memory: the service warns before the kernel kills it.

use std::fs;

use devstack::{Launch, Process};
use hyper::StatusCode;

use crate::support::{Service, Stack, eventually};

/// The service sees control groups that the test wrote, in a separate mount namespace.
#[tokio::test(flavor = "multi_thread")]
async fn memory_that_is_nearly_full_is_a_warning_with_a_value_for_the_bound() {
    let stack = Stack::new();
    let groups = stack.temp_dir.path().join("groups");
    let write = |used: u64| {
        for (folder, limit, current) in [
            ("", "memory.max", "memory.current"),
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        ] {
            fs::create_dir_all(groups.join(folder)).unwrap();
            fs::write(groups.join(folder).join(limit), (64 << 20).to_string()).unwrap();
            fs::write(groups.join(folder).join(current), (used << 20).to_string()).unwrap();
        }
    };
    write(30);
    let script =
        format!("mount --bind {} /sys/fs/cgroup && exec {} serve", groups.display(), stack.program.display());
    let mut launch = Launch::new("orderd", "unshare", stack.temp_dir.path());
    launch.args = ["-rm", "sh", "-c", &script].map(Into::into).into();
    launch.envs = stack.env().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    launch.log = Some(stack.temp_dir.path().join("limited.log"));
    let process = Process::spawn(launch).unwrap();
    let addr = eventually("orderd listens", async || {
        let log = process.log();
        assert!(!process.has_ended(), "{log}");
        log.split_once("addr=")?.1.split_whitespace().next()?.parse().ok()
    })
    .await;
    let service = Service { process, addr };
    service.wait_ready().await;
    let warnings = async || {
        let answer = service.get("/readyz").await;
        (answer.status, answer.json()["warnings"].clone())
    };
    assert_eq!(warnings().await.1, serde_json::json!([]));
    write(60);
    let warned = eventually("it warns", async || {
        let (status, warnings) = warnings().await;
        assert_eq!(status, StatusCode::OK, "it works still");
        warnings.get(0).cloned()
    })
    .await;
    assert_eq!(warned["what"], "memory_nearly_full");
    let text = warned["text"].as_str().unwrap();
    assert!(text.contains("CACHE_MAX_BYTES=") && text.contains("60 MiB of the 64 MiB"), "{text}");
    assert!(service.get("/metrics").await.body.contains("orderd_warning{what=\"memory_nearly_full\"} 1"));
    // Logged once, as long as the state holds.
    write(57);
    let before = service.process.log();
    assert_eq!(before.matches("memory is nearly full").count(), 1, "{before}");
    write(30);
    eventually("it warns no more", async || (warnings().await.1 == serde_json::json!([])).then_some(()))
        .await;
}
