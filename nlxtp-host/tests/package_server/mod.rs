//! An HTTP server on loopback that answers as a test wants it to, well or badly.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// What a client has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    /// Where the range begins that it wants, if it wants one.
    pub from: Option<usize>,
}

/// What the server does about it.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Sends the content, or the range of it that was asked for.
    Content(Vec<u8>),
    /// Sends all of the content, whatever range was asked for.
    WithoutRanges(Vec<u8>),
    /// Announces the content, sends the first half of it, and hangs up.
    HangsUp(Vec<u8>),
    /// Announces the content, sends the first half of it, and then nothing for as long as the client
    /// waits.
    Stalls(Vec<u8>),
    /// Leads to another path or URL.
    Moved(String),
    /// Only this status, such as "404 Not Found".
    Status(&'static str),
}

/// Serves until this value is dropped.
pub struct PackageServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Request>>,
    is_over: AtomicBool,
}

impl PackageServer {
    /// Starts to answer all requests so, on a port that was free.
    pub fn that_answers(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("the port's address");
        let (answer, requests) = (Mutex::new(answer), Mutex::default());
        let shared = Arc::new(Shared { answer, requests, is_over: AtomicBool::new(false) });
        let for_thread = Arc::clone(&shared);
        let listening = thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if for_thread.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                // A client that goes away is no concern of the server's.
                thread::spawn(move || drop(shared.serve(&connection)));
            }
        });
        Self { address, shared, listening: Some(listening) }
    }

    /// Answers otherwise from now on.
    pub fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked for since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }
}

impl Drop for PackageServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread up, which looks then.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(listening)) = (woken, self.listening.take()) {
            let _ = listening.join();
        }
    }
}

impl Shared {
    /// Answers one request, after which the connection is closed.
    fn serve(&self, mut connection: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut from = None;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                from = range.strip_suffix('-').and_then(|from| from.parse().ok());
            }
        }
        let has_moved = path == "/moved";
        self.requests.lock().unwrap().push(Request { path, from });
        let answer = self.answer.lock().unwrap().clone();
        let mut send = |head: &str, length: usize, body: &[u8]| {
            let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            connection.write_all(head.as_bytes())?;
            connection.write_all(body)
        };
        match (answer, from) {
            (Answer::Moved(to), _) => send(&format!("302 Found\r\nLocation: {to}"), 0, b""),
            (Answer::Content(_), _) if has_moved => send("302 Found\r\nLocation: /package", 0, b""),
            (Answer::Content(content), Some(from)) if from < content.len() => {
                let range = format!("Content-Range: bytes {from}-{}/{}", content.len() - 1, content.len());
                send(&format!("206 Partial Content\r\n{range}"), content.len() - from, &content[from..])
            }
            (Answer::Content(_), Some(_)) => send("416 Range Not Satisfiable", 0, b""),
            (Answer::Content(content) | Answer::WithoutRanges(content), _) => send("200 OK", content.len(), &content),
            (Answer::HangsUp(content), _) => send("200 OK", content.len(), &content[..content.len() / 2]),
            (Answer::Stalls(content), _) => {
                send("200 OK", content.len(), &content[..content.len() / 2])?;
                // Until the client hangs up.
                reader.read_to_end(&mut Vec::new()).map(drop)
            }
            (Answer::Status(status), _) => send(status, 0, b""),
        }
    }
}
