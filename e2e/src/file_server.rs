//! An HTTP server for package files, on loopback.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Serves the files of a folder until this value is dropped.
pub struct FileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    asked_for: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl FileServer {
    /// Starts to serve this folder, on a port that was free.
    ///
    /// # Panics
    /// If there is no loopback.
    #[track_caller]
    pub fn of(folder: &Path) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let address = listener.local_addr().expect("the port's address");
        let (folder, asked_for) = (folder.to_path_buf(), Mutex::default());
        let shared = Arc::new(Shared { folder, asked_for, is_over: AtomicBool::new(false) });
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
        FileServer { address, shared, listening: Some(listening) }
    }

    /// The URL of the folder, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets APT in a guest with this root file system fetch packages from a folder of the server's, and from
    /// nowhere else.
    ///
    /// # Panics
    /// If its configuration cannot be written.
    #[track_caller]
    pub fn is_package_source_of(&self, root: &Path, folder: &str) {
        let source = format!("deb [trusted=yes] {}/{folder} ./\n", self.url());
        fs::write(root.join("etc/apt/sources.list"), source).expect("the guest's package source");
        // Proxies are for the way outside.
        let no_proxy = "Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n";
        fs::write(root.join("etc/apt/apt.conf.d/no-proxy"), no_proxy).expect("the guest's configuration");
    }

    /// The paths that were asked for since the last call.
    pub fn asked_for(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.asked_for.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for FileServer {
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
    /// Answers the requests of one connection.
    fn serve(&self, mut connection: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(connection).lines();
        while let Some(request) = lines.next().transpose()? {
            let mut begins_at = 0;
            for header in lines.by_ref() {
                let header = header?.to_ascii_lowercase();
                if header.is_empty() {
                    break;
                }
                if let Some(range) = header.strip_prefix("range: bytes=") {
                    begins_at = range.trim_end_matches('-').parse().unwrap_or(0);
                }
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            self.asked_for.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
            let (head, body) = self.answer(path, begins_at);
            connection.write_all(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
            if !request.starts_with("HEAD ") {
                connection.write_all(&body)?;
            }
        }
        Ok(())
    }

    /// The status with what belongs to it, and the content.
    fn answer(&self, path: &str, begins_at: usize) -> (String, Vec<u8>) {
        let path = decoded(path.trim_start_matches('/'));
        let path = Path::new(&path);
        let is_within = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        match fs::read(self.folder.join(path)) {
            Ok(content) if is_within && begins_at == 0 => ("200 OK".into(), content),
            Ok(content) if is_within && begins_at < content.len() => {
                let range = format!("Content-Range: bytes {begins_at}-{}/{}", content.len() - 1, content.len());
                (format!("206 Partial Content\r\n{range}"), content[begins_at..].to_vec())
            }
            Ok(_) if is_within => ("416 Range Not Satisfiable".into(), Vec::new()),
            _ => ("404 Not Found".into(), Vec::new()),
        }
    }
}

/// APT asks for "+" and others as "%2b".
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii);
        match byte {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[2..]);
            }
            None => {
                text.push('%');
                text.push_str(part);
            }
        }
    }
    text
}
