//! What a caller says of a node when it is opened.

use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use nlxtp_host::error::{Error, Result};
use nlxtp_host::guest::KnownPower;
use nlxtp_host::journal::{Journal, check_apart};
use nlxtp_host::node::Node;
use nlxtp_host::shared_directory::BoxedDirectory;
use rextfv_core::archive_rules::LinkPolicy;
use rextfv_core::limits::Limits;
use rextfv_core::liveness::{LivenessRules, Memory};
use rextfv_core::powers::{GuestPower, InvokeMonitor, PowerState};

use crate::boundary::{self, UserData, borrow_optional, bytes, invalid, read_struct, text};
use crate::journal::nlxtp_journal;

/// Whether a guest is on.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum nlxtp_power {
    /// Nobody can say.
    NLXTP_POWER_UNKNOWN = 0,
    /// The guest runs, or may be about to.
    NLXTP_POWER_ON = 1,
    /// The guest is shut down and stays so for the length of the call.
    NLXTP_POWER_OFF = 2,
}

/// Tells whether the guest is on: one of nlxtp_power, or a negative errno value where that could not
/// be found out; the call that asked then fails. It is called in the thread of that call.
pub type nlxtp_power_fn = Option<extern "C" fn(user_data: *mut c_void) -> c_int>;

/// Starts the monitor inside the running guest and need not wait for the run to end. Returns 0, or a
/// negative errno value; the upload then fails with NLXTP_ERROR_INVOKE_FAILED, and stands. It is
/// called in the thread of the upload.
pub type nlxtp_invoke_fn = Option<extern "C" fn(user_data: *mut c_void) -> c_int>;

/// What is known of a node. Fill it with zeros, which mean "as usual", then set `size` and what is
/// wanted. NULL in its place means: all as usual.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct nlxtp_node_options {
    /// sizeof(nlxtp_node_options).
    pub size: usize,
    /// Whether the guest is on, one of nlxtp_power, where `power_state` is NULL.
    pub power: i32,
    /// Not 0: on a disk, which has no links, upload a copy of what a link in the archive leads to.
    pub follow_links: c_int,
    /// Tells whether the guest is on; may be NULL.
    pub power_state: nlxtp_power_fn,
    /// Starts the monitor in a running container; may be NULL: then its daemon has to notice.
    pub invoke_monitor: nlxtp_invoke_fn,
    /// What the two callbacks get back. It must stay for as long as the node.
    pub user_data: *mut c_void,
    /// Most files, directories and links in an archive or a shared directory; 0 for a million.
    pub max_entries: u64,
    /// Most bytes of all files together, unpacked; 0 for 64 GiB.
    pub max_bytes: u64,
    /// Milliseconds that the monitor may be silent beyond three of the intervals that it promised; 0
    /// for 5000.
    pub grace_ms: u64,
    /// The same for ToMaTo's guest modules, which promise nothing; 0 for 600000.
    pub tomato_patience_ms: u64,
    /// What nlxtp_node_memory() gave for this node before; NULL where there is nothing.
    pub memory: *const c_char,
    /// Where what is done with the node is recorded; NULL for nowhere. An upload or download fails before
    /// anything is touched where the journal cannot be written to, and is not recorded where it fails itself.
    pub journal: *const nlxtp_journal,
    /// The node's name in `journal`, by which a replay finds it: the same in every process, and no other
    /// node's. Any bytes, one at least; it must be set if `journal` is.
    pub journal_name: *const c_char,
}

const AS_USUAL: nlxtp_node_options = nlxtp_node_options {
    size: 0,
    power: 0,
    follow_links: 0,
    power_state: None,
    invoke_monitor: None,
    user_data: std::ptr::null_mut(),
    max_entries: 0,
    max_bytes: 0,
    grace_ms: 0,
    tomato_patience_ms: 0,
    memory: std::ptr::null(),
    journal: std::ptr::null(),
    journal_name: std::ptr::null(),
};

boundary::growable!(nlxtp_node_options, AS_USUAL);

struct Power {
    callback: extern "C" fn(*mut c_void) -> c_int,
    data: UserData,
}

impl GuestPower for Power {
    type Error = Error;

    fn power_state(&self) -> Result<PowerState> {
        let state = (self.callback)(self.data.get());
        power_state(state).map_err(|error| match state {
            ..0 => Error::io("find out whether the guest is on", errno(state)),
            _ => error,
        })
    }
}

struct Invoker {
    callback: extern "C" fn(*mut c_void) -> c_int,
    data: UserData,
}

impl InvokeMonitor for Invoker {
    type Error = Error;

    fn invoke_monitor(&self) -> Result<()> {
        match (self.callback)(self.data.get()) {
            0 => Ok(()),
            failed => Err(Error::io("invoke the monitor", errno(failed))),
        }
    }
}

fn errno(returned: c_int) -> std::io::Error {
    std::io::Error::from_raw_os_error(returned.checked_abs().unwrap_or(libc::EIO))
}

fn power_state(number: i32) -> Result<PowerState> {
    const UNKNOWN: i32 = nlxtp_power::NLXTP_POWER_UNKNOWN as i32;
    const ON: i32 = nlxtp_power::NLXTP_POWER_ON as i32;
    const OFF: i32 = nlxtp_power::NLXTP_POWER_OFF as i32;
    match number {
        UNKNOWN => Ok(PowerState::Unknown),
        ON => Ok(PowerState::On),
        OFF => Ok(PowerState::Off),
        other => Err(invalid(format!("{other} is no nlxtp_power"))),
    }
}

/// What a caller wants a node to be.
pub struct Wishes {
    given: nlxtp_node_options,
    pub limits: Limits,
    known: PowerState,
    memory: Option<Memory>,
    journal: Option<(Journal, Vec<u8>)>,
}

impl Wishes {
    /// Looks at all that the caller gave, before anything is opened.
    pub fn read(given: *const nlxtp_node_options) -> Result<Self> {
        let given = read_struct(given)?.unwrap_or(AS_USUAL);
        let or = |given: u64, usual: u64| if given == 0 { usual } else { given };
        let usual = Limits::DEFAULT;
        let total_bytes = or(given.max_bytes, usual.total_bytes);
        let entries = or(given.max_entries, usual.entries);
        let limits = Limits { entries, total_bytes, file_bytes: total_bytes, ..usual };
        let known = power_state(given.power)?;
        let memory = match given.memory.is_null() {
            true => None,
            false => Some(
                serde_json::from_str(text(given.memory, "memory")?)
                    .map_err(|error| invalid(format!("the memory is not what nlxtp_node_memory() gives: {error}")))?,
            ),
        };
        let journal = match borrow_optional(given.journal)? {
            None => None,
            Some(journal) => match bytes(given.journal_name, "journal_name")? {
                [] => return Err(invalid("the journal_name is empty".into())),
                name => Some((journal.clone(), name.to_vec())),
            },
        };
        Ok(Self { given, limits, known, memory, journal })
    }

    /// The node of a directory that was opened with these limits.
    pub fn node(self, directory: BoxedDirectory) -> Result<Node> {
        let given = self.given;
        let patience = |given: u64, usual| if given == 0 { usual } else { Duration::from_millis(given) };
        let rules = LivenessRules::default();
        let rules = LivenessRules {
            grace: patience(given.grace_ms, rules.grace),
            tomato_patience: patience(given.tomato_patience_ms, rules.tomato_patience),
            ..rules
        };
        let data = UserData::new(given.user_data);
        let node = Node::from_boxed(directory).with_limits(self.limits).with_liveness(rules).with_memory(self.memory);
        let mut node = match given.power_state {
            Some(callback) => node.with_power(Power { callback, data }),
            None => node.with_power(KnownPower(self.known)),
        };
        if let Some(callback) = given.invoke_monitor {
            node = node.with_invoker(Invoker { callback, data });
        }
        if given.follow_links != 0 {
            node = node.with_links(LinkPolicy::Copy);
        }
        if let Some((journal, name)) = self.journal {
            check_apart(journal.path(), node.directory().host_directory())?;
            node = node.with_journal(journal.for_node(name).deferring_downloads());
        }
        Ok(node)
    }
}
