//! Package files that the command downloads, from servers that behave well and badly.

mod cli_support;
mod package_server;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cli_support::{Finished, Place, is_ignored, unpack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use package_server::{Answer, PackageServer, Request};
use sha2::{Digest, Sha256};

const NAME: &str = "thing_1.0-1_all.deb";
const PATIENCE: Duration = Duration::from_secs(60);

/// A package file that a server has, a node that misses it, and a cache.
struct Scene {
    place: Place,
    server: PackageServer,
    content: Vec<u8>,
    digest: String,
}

impl Scene {
    fn new(answer: impl FnOnce(Vec<u8>) -> Answer) -> Self {
        // Less than what is taken at once.
        let content: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).take(40_000).collect();
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let scene =
            Self { place: Place::new(), server: PackageServer::that_answers(answer(content.clone())), content, digest };
        scene.asks_for("/package");
        scene
    }

    /// The node has named this path.
    fn asks_for(&self, path: &str) {
        let (digest, size, url) = (&self.digest, self.content.len(), self.server.url(path));
        let answer = format!(
            "nlxtp-packages 1\nsystem debian-12-amd64\nmanager apt\nwanted thing\nfile {digest} {size} {NAME} {url}\nend 1\n"
        );
        self.place.write("node.probe", answer.as_bytes());
    }

    fn begin(&self, more: &[&str]) -> Child {
        let arguments = ["archive", "installer", "node.probe", "--cache", "cache", "-o", "thing.tar", "--force"];
        let mut command = self.place.command(&[&arguments, more].concat());
        // Proxies are for the way outside.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn call(&self, more: &[&str]) -> Finished {
        self.begin(more).wait_with_output().unwrap().into()
    }

    fn part(&self) -> PathBuf {
        self.place.path(&format!("cache/{}.part", self.digest))
    }

    /// Keeps this as what an earlier attempt has brought.
    fn keep_part(&self, content: &[u8]) {
        fs::create_dir(self.place.path("cache")).unwrap();
        fs::write(self.part(), content).unwrap();
    }

    fn kept(&self) -> usize {
        fs::metadata(self.part()).map_or(0, |metadata| usize::try_from(metadata.len()).unwrap())
    }

    /// Waits until a call that has begun has kept the first half.
    #[track_caller]
    fn until_half_has_come(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.kept() < self.content.len() / 2 {
            assert!(Instant::now() < deadline, "only {} bytes have come", self.kept());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// That the archive was made of the right file, which the cache holds as whole.
    #[track_caller]
    fn is_complete(&self) {
        let files = unpack(&fs::read(self.place.path("thing.tar")).unwrap());
        assert!(files[&format!("packages/{:.12}-{NAME}", self.digest)] == self.content);
        assert!(fs::read(self.place.path("cache").join(&self.digest)).unwrap() == self.content);
        assert!(!self.part().exists());
    }

    /// That there is no archive, and nothing that would be taken for the file.
    #[track_caller]
    fn has_nothing(&self) {
        assert!(!self.place.path("thing.tar").exists());
        assert!(!self.place.path("cache").join(&self.digest).exists());
    }

    fn asked(&self, from: impl IntoIterator<Item = Option<usize>>) -> Vec<Request> {
        from.into_iter().map(|from| Request { path: "/package".into(), from }).collect()
    }
}

#[test]
fn a_second_call_downloads_nothing() {
    let scene = Scene::new(Answer::Content);
    let first = scene.call(&["--json"]).expect(0).json();
    assert_eq!((&first["downloaded"], &first["reused"]), (&1.into(), &0.into()), "{first}");
    assert_eq!(scene.server.requests(), scene.asked([None]));
    scene.is_complete();
    let second = scene.call(&["--json"]).expect(0).json();
    assert_eq!((&second["downloaded"], &second["reused"]), (&0.into(), &1.into()), "{second}");
    assert_eq!(scene.server.requests(), []);
    scene.is_complete();
    // What the cache holds is not trusted, though.
    fs::write(scene.place.path("cache").join(&scene.digest), "something else").unwrap();
    scene.call(&[]).expect(0);
    assert_eq!(scene.server.requests(), scene.asked([None]));
    scene.is_complete();
}

#[test]
fn a_cancelled_download_goes_on_where_it_was() {
    let scene = Scene::new(Answer::Stalls);
    let half = scene.content.len() / 2;
    let child = scene.begin(&[]);
    scene.until_half_has_come();
    let signal = if is_ignored(Signal::SIGINT) { Signal::SIGTERM } else { Signal::SIGINT };
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    let cancelled: Finished = child.wait_with_output().unwrap().into();
    let kept = format!("kept of it: {half} of {} bytes", scene.content.len());
    cancelled.expect(7).says(&[NAME, &scene.server.url("/package"), "cancelled", &kept, "run it again"]);
    scene.has_nothing();
    assert_eq!(scene.server.requests(), scene.asked([None]));

    scene.server.answers(Answer::Content(scene.content.clone()));
    scene.call(&[]).expect(0);
    assert_eq!(scene.server.requests(), scene.asked([Some(half)]));
    scene.is_complete();
}

#[test]
fn a_timeout_tells_what_is_kept_and_how_to_go_on() {
    let scene = Scene::new(Answer::Stalls);
    let given_up = scene.call(&["--timeout", "1s"]).expect(6);
    let kept = format!("kept of it: {} of {} bytes", scene.kept(), scene.content.len());
    given_up.says(&[NAME, &scene.server.url("/package"), "longer than it was given", &kept, "--timeout"]);
    scene.has_nothing();
    // While it waits before it tries again, too; then it says what it waits for.
    scene.server.answers(Answer::Status("503 Service Unavailable"));
    let error = scene.call(&["--timeout", "3s", "--json"]).expect(6).json();
    let (message, hint) = (error["error"]["message"].as_str().unwrap(), error["error"]["hint"].as_str().unwrap());
    assert!(message.contains(NAME) && message.contains("503") && message.contains(&kept), "{error}");
    assert!(hint.contains("--timeout"), "{error}");
    // And while another process is at it.
    let lock = fs::File::open(scene.place.path("cache/lock")).unwrap();
    lock.lock().unwrap();
    scene.call(&["--timeout", "100ms"]).expect(6).says(&["another process", "cache", "--cache"]);
}

#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let scene = Scene::new(Answer::HangsUp);
    let half = scene.content.len() / 2;
    let child = scene.begin(&[]);
    scene.until_half_has_come();
    scene.server.answers(Answer::Content(scene.content.clone()));
    Finished::from(child.wait_with_output().unwrap()).expect(0);
    let requests = scene.server.requests();
    assert_eq!(requests.first(), scene.asked([None]).first());
    assert_eq!(requests.last(), scene.asked([Some(half)]).last());
    scene.is_complete();
}

#[test]
fn a_server_without_ranges_is_read_from_the_beginning() {
    let scene = Scene::new(Answer::WithoutRanges);
    scene.keep_part(&scene.content[..1000]);
    scene.call(&[]).expect(0);
    assert_eq!(scene.server.requests(), scene.asked([Some(1000)]));
    scene.is_complete();
}

#[test]
fn what_was_kept_of_another_file_is_dropped() {
    let scene = Scene::new(Answer::Content);
    scene.keep_part(&[7; 1000]);
    scene.call(&[]).expect(0);
    assert_eq!(scene.server.requests(), scene.asked([Some(1000), None]));
    scene.is_complete();
}

#[test]
fn a_file_that_is_not_the_one_is_refused() {
    let scene = Scene::new(Answer::Content);
    let length = scene.content.len();
    for wrong in [vec![7; length], vec![7; length + 1]] {
        scene.server.answers(Answer::Content(wrong));
        let refused = scene.call(&[]).expect(4);
        refused.says(&[NAME, &scene.server.url("/package"), "that the node has told", "probe again"]);
        scene.has_nothing();
        assert_eq!(scene.kept(), 0);
        assert_eq!(scene.server.requests().len(), 1);
    }
}

#[test]
fn a_file_that_is_gone_is_not_asked_for_again() {
    let scene = Scene::new(|_| Answer::Status("404 Not Found"));
    let gone = scene.call(&[]).expect(1);
    gone.says(&[NAME, &scene.server.url("/package"), "404 Not Found", "probe again"]);
    assert_eq!(scene.server.requests(), scene.asked([None]));
    scene.has_nothing();
}

#[test]
fn a_redirect_is_followed_for_a_rest_too() {
    let scene = Scene::new(Answer::Content);
    scene.asks_for("/moved");
    scene.keep_part(&scene.content[..1000]);
    scene.call(&[]).expect(0);
    let from = Some(1000);
    let expected = ["/moved", "/package"].map(|path| Request { path: path.into(), from });
    assert_eq!(scene.server.requests(), expected);
    scene.is_complete();
    // But not round and round, and not to what is no HTTP.
    for to in ["/moved", "file:///etc/passwd"] {
        fs::remove_dir_all(scene.place.path("cache")).unwrap();
        fs::remove_file(scene.place.path("thing.tar")).ok();
        scene.server.answers(Answer::Moved(to.into()));
        let refused = scene.call(&["--timeout", "20s"]).expect(1);
        refused.says(&[NAME, &scene.server.url("/moved")]);
        scene.has_nothing();
    }
}
