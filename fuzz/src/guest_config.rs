//! The guest's configuration: no text makes the parser panic, what it takes lies in the documented
//! ranges, and what is written is read again as it was.
//!
//! The input is a configuration file; the same bytes stand for a structured configuration, too.

use std::path::PathBuf;
use std::time::Duration;

use arbitrary::Unstructured;
use nlxtp_guest::config::{Config, Device, Mode, Noticing};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Checks one input.
pub fn check(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input) {
        any_text(text);
    }
    // An input that is too short stands for zeros.
    if let Ok(config) = any_config(&mut Unstructured::new(input)) {
        in_range(&config);
        written_and_read(&config);
    }
}

fn any_text(text: &str) {
    match Config::parse(text, "file") {
        Ok((config, warnings)) => {
            in_range(&config);
            written_and_read(&config);
            let lines = text.lines().count();
            assert!(warnings.len() <= lines && warnings.iter().all(|warning| names_its_line(warning, lines)));
        }
        Err(error) => {
            let lines = text.lines().count();
            assert!(!error.problems.is_empty() && error.problems.iter().all(|problem| names_its_line(problem, lines)));
        }
    }
    // A line that says nothing changes nothing.
    let more = format!("# a comment\n\n{text}\n  # another");
    let values = |text: &str| Config::parse(text, "file").ok().map(|(config, _)| config);
    assert_eq!(values(&more), values(text));
}

fn names_its_line(message: &str, lines: usize) -> bool {
    let number = message.strip_prefix("file, line ").and_then(|rest| rest.split_once(':'));
    number.and_then(|(number, _)| number.parse::<usize>().ok()).is_some_and(|number| (1..=lines).contains(&number))
}

fn in_range(config: &Config) {
    let whole = |time: Duration| time.subsec_nanos().is_multiple_of(1_000_000);
    for interval in [config.heartbeat, config.poll_interval] {
        assert!((SHORTEST_INTERVAL..=DAY).contains(&interval) && whole(interval), "{config:?}");
    }
    for time in [config.settle, config.grace] {
        assert!(time <= DAY && whole(time), "{config:?}");
    }
    let timeout = config.run_timeout.unwrap_or(YEAR);
    assert!(timeout <= YEAR && !timeout.is_zero() && whole(timeout), "{config:?}");
    assert!(config.dir.is_absolute() && config.modules.iter().all(|path| path.is_absolute()));
    assert!(!matches!(&config.device, Device::At(path) if path.is_relative()));
}

fn written_and_read(config: &Config) {
    let text = config.to_text();
    let read = Config::parse(&text, "file");
    assert_eq!(read.as_ref(), Ok(&(config.clone(), Vec::new())), "{text}");
}

fn any_config(source: &mut Unstructured<'_>) -> arbitrary::Result<Config> {
    let time = |source: &mut Unstructured<'_>, least: Duration, most: Duration| {
        let (least, most) = (least.as_millis() as u64, most.as_millis() as u64);
        source.int_in_range(least..=most).map(Duration::from_millis)
    };
    // A line of the file cannot hold a line break.
    let path = |source: &mut Unstructured<'_>| {
        let name: &str = source.arbitrary()?;
        Ok::<_, arbitrary::Error>(PathBuf::from(format!("/{}", name.replace(['\n', '\r'], ""))))
    };
    let mut config = Config {
        dir: path(source)?,
        mode: *source.choose(&[Mode::Never, Mode::Once, Mode::Watch])?,
        heartbeat: time(source, SHORTEST_INTERVAL, DAY)?,
        poll_interval: time(source, SHORTEST_INTERVAL, DAY)?,
        settle: time(source, Duration::ZERO, DAY)?,
        noticing: *source.choose(&[Noticing::Auto, Noticing::Poll])?,
        output_limit: source.arbitrary()?,
        tomato_status: source.arbitrary()?,
        digests: source.arbitrary()?,
        grace: time(source, Duration::ZERO, DAY)?,
        run_timeout: Some(time(source, Duration::ZERO, YEAR)?).filter(|timeout| !timeout.is_zero()),
        device: match source.int_in_range(0..=2)? {
            0 => Device::Unsaid,
            1 => Device::Auto,
            _ => Device::At(path(source)?),
        },
        modules: Vec::new(),
    };
    for _ in 0..source.int_in_range(0..=3)? {
        // Modules are divided by blanks.
        let module = path(source)?.display().to_string();
        config.modules.push(PathBuf::from(module.replace(char::is_whitespace, "")));
    }
    Ok(config)
}
