//! Prints what clients do, one statement a line, as JSON: for trying the grammar on a database by hand.
//!
//! `cargo run -p ferrolite-grammar --example steps -- SEED CLIENTS STEPS`. The clients take turns, step by step. A line is
//! an object with `client`, `transactional`, `last` (of its step), `kind`, `productions`, `sql` and `params`; blobs are
//! objects with their bytes in hexadecimal.

use std::fmt::Write;
use std::io::{BufWriter, stdout};

use fastrand::Rng;
use ferrolite_grammar::{Generator, Profile, Value};

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

fn json(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) => quoted(text),
        Value::Blob(bytes) => {
            let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{{\"blob\": \"{hexadecimal}\"}}")
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write;
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|arg| arg.parse()).collect();
    let [seed, clients, steps] = numbers?[..] else {
        return Err("usage: steps SEED CLIENTS STEPS".into());
    };
    let mut rng = Rng::with_seed(seed);
    let mut generators = Vec::new();
    for _ in 0..clients {
        let profile = Profile::draw(&mut rng);
        generators.push(Generator::new(rng.fork(), profile));
    }
    let mut out = BufWriter::new(stdout().lock());
    for _ in 0..steps {
        for (client, generator) in generators.iter_mut().enumerate() {
            let step = generator.next_step();
            let count = step.statements.len();
            for (place, statement) in step.statements.iter().enumerate() {
                let params: Vec<String> = statement.params.iter().map(json).collect();
                writeln!(
                    out,
                    "{{\"client\": {client}, \"transactional\": {}, \"last\": {}, \"kind\": \"{:?}\", \"ordered\": {}, \
                     \"productions\": \"{:?}\", \"sql\": {}, \"params\": [{}]}}",
                    step.transactional,
                    place + 1 == count,
                    statement.kind,
                    statement.ordered,
                    statement.productions,
                    quoted(&statement.sql),
                    params.join(", ")
                )?;
            }
        }
    }
    Ok(())
}
