//! A PostgreSQL server of a test's own, which it may stop and start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{psql, skipped};

/// The server. Dropping it stops it and removes its files.
pub struct PostgresServer {
    bin: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    as_postgres: bool,
}

impl PostgresServer {
    /// Makes and starts a server, or `None` after saying that `test` is skipped.
    ///
    /// # Panics
    /// When there are the programs of a server and none can be started.
    #[must_use]
    pub fn start(test: &str) -> Option<PostgresServer> {
        let Some(bin) = programs() else {
            skipped(test, "no initdb and pg_ctl of PostgreSQL are installed");
            return None;
        };
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a folder: {error}"));
        // initdb refuses to be root.
        let as_postgres = said(Command::new("id").arg("-u")).trim() == "0";
        let mut server = PostgresServer {
            bin,
            folder,
            port: 0,
            as_postgres,
        };
        said(Command::new("chmod").arg("755").arg(server.folder.path()));
        if as_postgres {
            said(Command::new("chown").arg("postgres").arg(server.folder.path()));
        }
        let data = server.data();
        said(
            server
                .program("initdb")
                .args([
                    "-U",
                    "test",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                    "-D",
                ])
                .arg(&data),
        );
        // Another program may take the port between our look and its start.
        for _ in 0..5 {
            let port = free_port();
            let options = format!(
                "-p {port} -k {} -c listen_addresses=127.0.0.1 -c max_connections=60",
                server.folder.path().display()
            );
            let started = server.pg_ctl(&["-o", &options, "start"]);
            if started {
                server.port = port;
                return Some(server);
            }
        }
        panic!(
            "no PostgreSQL could be started: {}",
            std::fs::read_to_string(server.log()).unwrap_or_default()
        );
    }

    /// Address of its first database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://test@127.0.0.1:{}/postgres", self.port)
    }

    /// The same as another role.
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        self.url().replace("test@", &format!("{role}@"))
    }

    /// Runs statements in its first database.
    ///
    /// # Panics
    /// When they cannot be run.
    pub fn sql(&self, text: &str) {
        psql(&self.url(), text);
    }

    /// Stops it as a power cut would, and starts it again.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self) {
        assert!(
            self.pg_ctl(&["-m", "immediate", "restart"]),
            "the server does not come back"
        );
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn pg_ctl(&self, args: &[&str]) -> bool {
        let mut command = self.program("pg_ctl");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-l")
            .arg(self.log())
            .args(["-w", "-t", "60"]);
        // Its server inherits what it is given, so it is given nothing that somebody waits for.
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn program(&self, name: &str) -> Command {
        let path = self.bin.join(name);
        let mut command = if self.as_postgres {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/");
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.pg_ctl(&["-m", "immediate", "stop"]);
    }
}

/// The newest programs of a server.
fn programs() -> Option<PathBuf> {
    let has = |folder: &Path| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file();
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|folder| has(folder))
        .collect();
    found.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    found
        .pop()
        .or_else(|| std::env::split_paths(&on_path).find(|folder| has(folder)))
}

/// A port that nobody uses now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    listener
        .and_then(|listener| listener.local_addr())
        .map_or_else(|error| panic!("a port: {error}"), |address| address.port())
}

fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => panic!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{command:?}: {error}"),
    }
}
