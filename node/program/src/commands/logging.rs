//! Where what a node logs goes: to standard error, an event a line.

use std::io::{self, Write};

use env_logger::Builder;
use env_logger::fmt::Formatter;
use log::LevelFilter;
use log::kv::{Error, Key, Source, Value, VisitSource};

/// Sends the node's log to standard error: from a level on, or as directives (`info,ferrolite_node::peers=debug`) say.
///
/// What the engine says of itself is not in it: what of that concerns a client is in the answer to it, and some
/// of what it calls an error (a checkpoint that it was kept from) is none here.
pub(crate) fn log_to_stderr(directives: &str) -> Result<(), String> {
    logger(directives)?
        .try_init()
        .map_err(|error| error.to_string())
}

fn logger(directives: &str) -> Result<Builder, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("--log-level {directives}: {error}");
    if !directives.contains(['=', ',', ':']) {
        // A word that is no level would be a module of which everything is logged, and nothing of the others.
        directives
            .parse::<LevelFilter>()
            .map_err(|_| wrong(&"expected error, warn, info, debug or trace"))?;
    }
    env_filter::Builder::new()
        .try_parse(directives)
        .map_err(|error| wrong(&error))?;
    let mut builder = Builder::new();
    builder
        .parse_filters(directives)
        .filter_module("rustyline", LevelFilter::Off)
        .format_timestamp_micros()
        .format_key_values(key_values);
    Ok(builder)
}

/// Writes ` key=value` for each. Values may be what strangers sent: with line ends and escape sequences in them, they could
/// write lines of their own into the log, and commands to the terminal of whoever reads it.
fn key_values(line: &mut Formatter, fields: &dyn Source) -> io::Result<()> {
    fields.visit(&mut KeyValues(line)).map_err(io::Error::other)
}

struct KeyValues<'a>(&'a mut Formatter);

impl<'kvs> VisitSource<'kvs> for KeyValues<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        write!(self.0, " {key}=")?;
        for character in value.to_string().chars() {
            if character.is_control() {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                write!(self.0, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use env_logger::Target;
    use log::{Level, Log, Record};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What an event gives, without its time.
    fn logged(directives: &str, level: Level, fields: &[(&str, &str)]) -> String {
        let written = Written::default();
        let logger = logger(directives)
            .unwrap()
            .target(Target::Pipe(Box::new(written.clone())))
            .format_timestamp(None)
            .build();
        let record = Record::builder()
            .level(level)
            .target("ferrolite_node::peers")
            .args(format_args!("refused a peer"))
            .key_values(&fields)
            .build();
        logger.log(&record);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Protects: the log from strangers, whose names and addresses are in it.
    #[test]
    fn a_value_is_no_line_and_no_command() {
        let fields = [("address", "10.0.0.1:9001\n[ERROR] é\u{1b}[2J\u{9b}")];
        assert_eq!(
            logged("info", Level::Warn, &fields),
            "[WARN  ferrolite_node::peers] refused a peer address=10.0.0.1:9001\\n[ERROR] é\\u{1b}[2J\\u{9b}\n"
        );
    }

    /// Protects: what is asked for is shown, and only that.
    #[test]
    fn levels_and_modules_are_chosen() {
        for directives in ["debug", "warn,ferrolite_node::peers=debug"] {
            assert_ne!(logged(directives, Level::Debug, &[]), "", "{directives}");
        }
        for directives in ["info", "off", "debug,ferrolite_node::peers=warn"] {
            assert_eq!(logged(directives, Level::Debug, &[]), "", "{directives}");
        }
    }

    /// Protects: a slip of the pen is told of, and does not silence a node.
    #[test]
    fn what_is_neither_a_level_nor_a_module_is_refused() {
        for wrong in ["loud", "", "a,b=c=d", "ferrolite_node=loud"] {
            let said = logger(wrong).err().unwrap();
            assert!(
                said.starts_with(&format!("--log-level {wrong}: ")),
                "{said}"
            );
        }
    }
}
