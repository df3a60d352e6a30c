//! The C library as `make install` leaves it, and programs that are compiled against it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::places;
use crate::process::run;

/// For compiling the library.
const PATIENCE: Duration = Duration::from_secs(1200);

/// How a program gets the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// When it starts.
    Shared,
    /// When it is linked.
    Static,
}

/// The library, installed into a folder of its own.
pub struct CLibrary {
    folder: TempDir,
}

impl CLibrary {
    /// Builds it, unless it is built, and installs it.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn install() -> Self {
        let folder = places::temporary_folder("c-library");
        let mut make = Command::new("make");
        make.arg("-C").arg(places::repository()).arg("install").arg(format!("PREFIX={}", folder.path().display()));
        run(&mut make, PATIENCE).success();
        Self { folder }
    }

    /// A path below the prefix.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What pkg-config answers.
    ///
    /// # Panics
    /// If it does not know the library.
    #[track_caller]
    pub fn flags(&self, arguments: &[&str]) -> Vec<String> {
        let mut pkg_config = Command::new(places::tool("pkg-config"));
        pkg_config.env("PKG_CONFIG_PATH", self.path("lib/pkgconfig"));
        let answer = run(pkg_config.args(arguments).arg("nlxtp"), PATIENCE).success().text();
        answer.split_whitespace().map(str::to_owned).collect()
    }

    /// Compiles a source of the repository, by the flags of pkg-config, with all warnings as errors.
    /// The language is the compiler's word for it: "c" or "c++".
    ///
    /// # Panics
    /// If it does not compile.
    #[track_caller]
    pub fn compile(&self, source: &str, language: &str, linking: Linking) -> PathBuf {
        let path = places::repository().join(source);
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let program = self.path(&format!("{name}-{language}-{linking:?}"));
        let mut compiler = Command::new(if language == "c++" { "c++" } else { "cc" });
        compiler.arg(if language == "c++" { "-std=c++17" } else { "-std=c99" });
        compiler.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-o"]).arg(&program);
        compiler.arg("-x").arg(language).arg(path).args(["-x", "none"]).args(self.flags(&["--cflags"]));
        match linking {
            Linking::Shared => {
                compiler.args(self.flags(&["--libs"]));
                compiler.arg(format!("-Wl,-rpath,{}", self.path("lib").display()));
            }
            Linking::Static => {
                compiler.arg(self.path("lib/libnlxtp.a"));
                compiler.args(self.flags(&["--static", "--libs-only-l"]).iter().filter(|flag| *flag != "-lnlxtp"));
            }
        }
        run(&mut compiler, PATIENCE).success();
        program
    }

    /// The prefix.
    pub fn prefix(&self) -> &Path {
        self.folder.path()
    }
}
