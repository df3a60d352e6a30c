//! Downloads that are made again where the guest changed something meanwhile.

#![forbid(unsafe_code)]

use std::time::Duration;

use rextfv_core::operations::DownloadReport;
use rextfv_core::powers::Clock;
use rextfv_core::retry::{Attempt, RetryPolicy, retry};
use rextfv_core::shared_directory::MayRetry;

use crate::control::Control;
use crate::error::Result;
use crate::host_clock::HostClock;

/// Downloads again until nothing changed while it was packed, or the policy allows no more attempts.
/// Returns the last attempt's report, which says what did change, and how many attempts there were.
///
/// What the attempts before have written is of no use any more: each must begin its archive anew. A
/// file that is written to all the time, such as a running script's output, leaves no attempt
/// settled.
///
/// ```no_run
/// use std::fs::File;
/// use nlxtp_host::archive::OutputFormat;
/// use nlxtp_host::control::Control;
/// use nlxtp_host::download::until_settled;
/// # use nlxtp_host::node::Node;
/// # use nlxtp_host::shared_directory::HostDirectory;
/// use rextfv_core::retry::RetryPolicy;
///
/// # let mut node = Node::new(HostDirectory::open("container")?);
/// let (report, attempts) = until_settled(&RetryPolicy::DOWNLOAD, &Control::none(), || {
///     let mut archive = File::create("results.tar.gz").expect("a place to write to");
///     node.download(&mut archive, OutputFormat::default(), &Control::none())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The last attempt's; as for [`Control::check`] between attempts.
pub fn until_settled(
    policy: &RetryPolicy,
    control: &Control<'_>,
    mut download: impl FnMut() -> Result<DownloadReport>,
) -> Result<(DownloadReport, u32)> {
    let (result, attempts) = retry(policy, &Interruptible { clock: HostClock::new(), control }, || {
        match control.check().and_then(|()| download()) {
            Ok(report) if !report.is_settled() => Attempt::Again(Ok(report)),
            Err(error) if error.may_retry() => Attempt::Again(Err(error)),
            settled => Attempt::Settled(settled),
        }
    });
    result.map(|report| (report, attempts))
}

/// A clock whose pauses end with a cancellation.
struct Interruptible<'a, 'c> {
    clock: HostClock,
    control: &'a Control<'c>,
}

impl Clock for Interruptible<'_, '_> {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn epoch(&self) -> u64 {
        self.clock.epoch()
    }

    fn sleep(&self, time: Duration) {
        // What ends it is told by the check before the next attempt.
        let _ = self.control.sleep(time);
    }
}
