//! As root, PostgreSQL runs as another user, who may be unable to reach a folder.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use devstack::{Postgres, PostgresOptions, TempDir};

use crate::install;

#[test]
fn data_hidden_from_the_servers_user_are_kept_elsewhere_behind_a_link() {
    install();
    let temp_dir = TempDir::new().unwrap();
    let closed = temp_dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let asked = closed.join("deeper").join("postgres");

    let postgres = Postgres::start(&asked, PostgresOptions::quick()).unwrap();
    postgres.psql("create table kept ()").unwrap();
    let data = postgres.data_dir();
    drop(postgres);
    let again = Postgres::start(&asked, PostgresOptions::quick()).unwrap();
    assert_eq!(again.psql("select count(*) from kept").unwrap().trim(), "0");
    assert_eq!(again.data_dir(), data);
    drop(again);

    let moved = !data.starts_with(temp_dir.path());
    assert_eq!(moved, fs::symlink_metadata(&asked).unwrap().is_symlink());
    // Without root, the server runs as our user and can read everything.
    assert_eq!(
        moved,
        fs::metadata(temp_dir.path()).unwrap().permissions().mode() & 0o777 == 0o755 && is_root()
    );
    if moved {
        fs::remove_dir_all(data.parent().unwrap()).unwrap();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
