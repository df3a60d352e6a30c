use std::sync::Mutex;

use super::*;

/// Long enough for nothing, and quickly over.
const MOMENT: Duration = Duration::from_millis(100);

/// Gives a few bytes, and then nothing more for as long as the other end of the channel is there.
struct Stalls(Receiver<()>, &'static [u8]);

impl Read for Stalls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            let _ = self.0.recv();
        }
        self.1.read(buffer)
    }
}

struct Body<B>(Mutex<Option<B>>);

impl<B: Read + Send + 'static> Fetch for Body<B> {
    fn fetch(&self, _: &str, from: u64) -> Result<Fetched> {
        let body = self.0.lock().unwrap().take().expect("asked for once");
        Ok(Fetched { begins_at: from, body: Box::new(body) })
    }
}

fn client(body: impl Read + Send + 'static) -> Arc<dyn Fetch> {
    Arc::new(Body(Mutex::new(Some(body))))
}

fn package(content: &[u8]) -> PackageFile {
    let digest = Digest(Sha256::digest(content).into());
    PackageFile { digest, size: content.len() as u64, name: "a_1_all.deb".into(), url: "http://a/b".into() }
}

fn content_of(part: &mut File) -> Vec<u8> {
    let mut content = Vec::new();
    part.rewind().unwrap();
    part.read_to_end(&mut content).unwrap();
    content
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_what_it_sent_is_kept() {
    let (_silent, stalls) = mpsc::channel();
    let mut part = tempfile::tempfile().unwrap();
    let (file, control) = (package(b"a package"), Control::none());
    let fetch = client(Stalls(stalls, b"a pa"));
    let failed = complete(&mut part, &file, &fetch, &control, MOMENT, &mut |_| Ok(()));
    let Err(Failed::ForNow(error)) = failed else { panic!("it did not fail for now") };
    assert!(error.message().contains("sends nothing any more"), "{error}");
    assert_eq!(content_of(&mut part), b"a pa");
    // The next attempt is asked for the rest only.
    assert!(complete(&mut part, &file, &client(&b"ckage"[..]), &control, SILENCE, &mut |_| Ok(())).is_ok());
    assert_eq!(content_of(&mut part), b"a package");
}

#[test]
fn every_byte_counts_when_it_comes() {
    struct Drips(&'static [u8]);
    impl Read for Drips {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let end = buffer.len().min(1);
            self.0.read(&mut buffer[..end])
        }
    }
    let mut part = tempfile::tempfile().unwrap();
    let mut seen = Vec::new();
    let mut arrived = |length| {
        seen.push(length);
        Ok(())
    };
    let fetch = client(Drips(b"a package"));
    let done = complete(&mut part, &package(b"a package"), &fetch, &Control::none(), SILENCE, &mut arrived);
    assert!(done.is_ok());
    assert_eq!(seen, (1..=9).collect::<Vec<_>>());
}
