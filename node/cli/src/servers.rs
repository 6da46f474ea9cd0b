//! Where the cluster is: the option that every command has.

use clap::Args;

/// The servers to ask for the leader.
#[derive(Debug, Clone, Args)]
pub struct Servers {
    /// Nodes of the cluster, as HOST:PORT; one that runs is enough, the leader is found from there
    #[arg(
        long = "servers",
        short = 's',
        env = "FERROLITE_SERVERS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:9001",
        value_parser = parse_address
    )]
    pub addresses: Vec<String>,
}

/// Checks that an address names a host and a port.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong =
        |what: &str| format!("{what}; write HOST:PORT, for instance 127.0.0.1:9001 or [::1]:9001");
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(wrong("the port is missing"));
    };
    if host.is_empty() {
        return Err(wrong("the host is missing"));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(wrong("an IPv6 address stands in brackets"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err(wrong("the port is not a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: the message for a mistyped address, which would otherwise be a name that does not resolve.
    #[test]
    fn addresses_are_checked() {
        for good in ["127.0.0.1:9001", " db.example:1 ", "[::1]:9001"] {
            assert!(parse_address(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost",
            ":9001",
            "host:",
            "host:0",
            "host:70000",
            "::1:9001",
        ] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
