//! What runs a virtual machine's processor: KVM where it really works, else emulation.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use crate::initramfs::Initramfs;
use crate::places;
use crate::vm::{Vm, VmOptions};

/// A guest boots under KVM in about a second; where `/dev/kvm` exists but hangs, this is
/// what finding it out costs, once after each boot of this machine.
const TRIAL: Duration = Duration::from_secs(8);

/// What runs a virtual machine's processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's emulation: slower, works everywhere.
    Tcg,
}

impl Accelerator {
    /// The accelerator to use on this machine.
    ///
    /// `NLXTP_E2E_ACCELERATOR` (`kvm` or `tcg`) decides if set. Otherwise KVM is taken if a
    /// trial guest really boots with it. The outcome is kept in the target folder until
    /// this machine reboots.
    ///
    /// # Panics
    /// If the variable holds anything else, or the outcome cannot be kept.
    #[track_caller]
    pub fn of_this_machine() -> Self {
        static CHOSEN: OnceLock<Accelerator> = OnceLock::new();
        *CHOSEN.get_or_init(choose)
    }

    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Accelerator::Kvm, Accelerator::Tcg].into_iter().find(|known| known.name() == name)
    }
}

fn choose() -> Accelerator {
    if let Ok(name) = std::env::var("NLXTP_E2E_ACCELERATOR") {
        return Accelerator::from_name(&name)
            .unwrap_or_else(|| panic!("NLXTP_E2E_ACCELERATOR is '{name}': say kvm or tcg"));
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let note = places::guest_boot().with_file_name("accelerator");
    let noted = fs::read_to_string(&note).unwrap_or_default();
    if let Some((name, noted_boot)) = noted.split_once(' ')
        && noted_boot == boot
        && let Some(accelerator) = Accelerator::from_name(name)
    {
        return accelerator;
    }
    let accelerator = if kvm_boots_a_guest() { Accelerator::Kvm } else { Accelerator::Tcg };
    fs::write(&note, format!("{} {boot}", accelerator.name()))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", note.display()));
    accelerator
}

fn kvm_boots_a_guest() -> bool {
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    let options = VmOptions::new(Initramfs::Busybox).accelerator(Accelerator::Kvm);
    Vm::start(&options).console().shows("guest: ready", TRIAL)
}
