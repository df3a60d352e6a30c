//! The package managers that probing and installer archives know.

/// A package manager: what the host must know of it. What is done with it in a node is in its script.
#[derive(Debug)]
pub struct Manager {
    /// Its name, as answers and the names of scripts spell it.
    pub name: &'static str,
    /// How the names of its package files end.
    pub suffix: &'static str,
    /// The shell functions that use it, see `scripts/manager-apt.sh`.
    pub(super) script: &'static str,
    /// What package files have in common of which a system can hold only one: the package's name and
    /// architecture, of a file name.
    pub(super) slot: fn(&str) -> Option<String>,
}

/// All of them, in the order in which a node is tried for them.
pub const MANAGERS: &[Manager] =
    &[Manager { name: "apt", suffix: ".deb", script: include_str!("scripts/manager-apt.sh"), slot: slot_of_deb }];

/// The manager of this name.
pub fn find(name: &str) -> Option<&'static Manager> {
    MANAGERS.iter().find(|manager| manager.name == name)
}

/// `NAME_VERSION_ARCHITECTURE.deb`
fn slot_of_deb(file: &str) -> Option<String> {
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, _version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !name.is_empty()).then(|| format!("{name}:{architecture}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_package_share_a_slot() {
        let slot = find("apt").unwrap().slot;
        assert_eq!(slot("jq_1.6-2.1_amd64.deb").as_deref(), Some("jq:amd64"));
        assert_eq!(slot("libcap2_1%3a2.44-1_amd64.deb").as_deref(), Some("libcap2:amd64"));
        for odd in ["jq.deb", "jq_1.deb", "a_b_c_d.deb", "_1_all.deb", "jq_1_all.rpm"] {
            assert_eq!(slot(odd), None, "{odd}");
        }
    }
}
