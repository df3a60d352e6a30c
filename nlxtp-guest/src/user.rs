//! Users, as `/etc/passwd` and `/etc/group` know them. A static program has no other way to ask.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid};

/// A user to run a script as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// All groups.
    pub groups: Vec<Gid>,
    /// The name, if there is one.
    pub name: Option<String>,
    /// The home directory, if one is known.
    pub home: Option<PathBuf>,
}

impl User {
    /// Finds a user by name or number. A number that has no name is a user with a group of that number.
    ///
    /// # Errors
    /// There is no such user; in words.
    pub fn find(wanted: &str) -> Result<Self, String> {
        // A system without these files has users by number only.
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Self::find_in(wanted, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn find_in(wanted: &str, passwd: &str, group: &str) -> Result<Self, String> {
        let number: Option<u32> = wanted.parse().ok();
        let known = passwd.lines().find_map(|line| {
            let [name, _, uid, gid, _, home, ..] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            let (uid, gid): (u32, u32) = (uid.parse().ok()?, gid.parse().ok()?);
            let is_wanted = number.map_or(name == wanted, |number| number == uid);
            is_wanted.then(|| (name.to_owned(), uid, gid, PathBuf::from(home)))
        });
        let Some((name, uid, gid, home)) = known else {
            let number =
                number.ok_or_else(|| format!("there is no user \"{wanted}\" in /etc/passwd of this system"))?;
            let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
            return Ok(Self { uid, gid, groups: vec![gid], name: None, home: None });
        };
        let mut groups = vec![Gid::from_raw(gid)];
        for line in group.lines() {
            let [_, _, number, members, ..] = line.split(':').collect::<Vec<_>>()[..] else { continue };
            let number = number.parse().map(Gid::from_raw);
            if members.split(',').any(|member| member == name)
                && let Ok(number) = number
                && !groups.contains(&number)
            {
                groups.push(number);
            }
        }
        Ok(Self { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), groups, name: Some(name), home: Some(home) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nmeasure:x:1000:100::/home/measure:/bin/sh\n";
    const GROUP: &str = "users:x:100:measure\naudio:x:29:pulse,measure\nother:x:30:measures\nbad:x:y:measure\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let by_name = User::find_in("measure", PASSWD, GROUP).unwrap();
        assert_eq!((by_name.uid, by_name.gid), (1000.into(), 100.into()));
        assert_eq!(by_name.groups, [100.into(), 29.into()]);
        assert_eq!(by_name.home, Some("/home/measure".into()));
        assert_eq!(User::find_in("1000", PASSWD, GROUP), Ok(by_name));
        let nameless = User::find_in("4711", PASSWD, GROUP).unwrap();
        assert_eq!((nameless.uid, nameless.groups, nameless.name), (4711.into(), vec![4711.into()], None));
        assert!(User::find_in("nobody", PASSWD, GROUP).unwrap_err().contains("no user \"nobody\""));
        assert!(User::find_in("broken", PASSWD, GROUP).is_err());
    }
}
