//! QEMU's control socket (QMP): pausing, resetting and ending a virtual machine.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// QEMU answers at once; this only keeps a test from hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a QEMU process.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the socket, which QEMU makes soon after its start.
    ///
    /// # Errors
    /// QEMU has not made it yet, or ended before it answered.
    pub fn try_connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp { reader: BufReader::new(stream) };
        qmp.try_next_message()?;
        qmp.try_execute(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(qmp)
    }

    /// Lets QEMU execute a command without arguments, and returns its answer.
    ///
    /// # Panics
    /// If QEMU refuses or does not answer.
    #[track_caller]
    pub fn execute(&mut self, command: &str) -> Value {
        self.execute_with(command, &json!({}))
    }

    /// Lets QEMU execute a command with arguments, and returns its answer.
    ///
    /// # Panics
    /// If QEMU refuses or does not answer.
    #[track_caller]
    pub fn execute_with(&mut self, command: &str, arguments: &Value) -> Value {
        self.try_execute(&json!({ "execute": command, "arguments": arguments }))
            .unwrap_or_else(|error| panic!("QEMU does not {command}: {error}"))
    }

    fn try_execute(&mut self, request: &Value) -> io::Result<Value> {
        // At once: QEMU does not wait for the newline, and may have quit by then.
        self.reader.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            // Events come in between.
            let mut message = self.try_next_message()?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if message.get("error").is_some() {
                return Err(io::Error::other(format!("it refuses: {message}")));
            }
        }
    }

    fn try_next_message(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU closed its control socket"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}
