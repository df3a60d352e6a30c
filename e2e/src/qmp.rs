//! QEMU's control socket (QMP): pausing, resetting and ending a virtual machine.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::wait_until;

/// QEMU answers at once; this only keeps a test from hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a QEMU process.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the socket, which QEMU makes soon after its start.
    ///
    /// # Panics
    /// If QEMU does not answer.
    #[track_caller]
    pub fn connect(socket: &Path) -> Self {
        let stream = wait_until("QEMU's control socket", PATIENCE, || UnixStream::connect(socket).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        let mut qmp = Qmp { reader: BufReader::new(stream) };
        qmp.next_message();
        qmp.execute("qmp_capabilities");
        qmp
    }

    /// Lets QEMU execute a command without arguments, and returns its answer.
    ///
    /// # Panics
    /// If QEMU refuses or does not answer.
    #[track_caller]
    pub fn execute(&mut self, command: &str) -> Value {
        let request = json!({ "execute": command });
        writeln!(self.reader.get_mut(), "{request}")
            .unwrap_or_else(|error| panic!("cannot ask QEMU to {command}: {error}"));
        loop {
            // Events come in between.
            let mut message = self.next_message();
            if let Some(answer) = message.get_mut("return") {
                return answer.take();
            }
            assert!(message.get("error").is_none(), "QEMU refuses to {command}: {message}");
        }
    }

    #[track_caller]
    fn next_message(&mut self) -> Value {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => panic!("QEMU closed its control socket"),
            Ok(_) => serde_json::from_str(&line).expect("QEMU's control socket speaks JSON"),
            Err(error) => panic!("no answer from QEMU: {error}"),
        }
    }
}
