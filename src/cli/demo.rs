//! `vpnprobe demo`: the arguments; the rest is in [`crate::demo`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::demo::{DemoArgs, story::Story};

/// What goes wrong with the concentrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Told {
    /// A story of faults, over and over.
    Loop,
    /// The same, once; all is well from then on.
    Once,
    /// Nothing.
    None,
}

/// The arguments of `demo`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Where to listen, instead of the default; may be repeated
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = super::listen_address)]
    pub listen: Vec<SocketAddr>,
    /// Listen beyond this host, though everyone who reaches it is answered
    #[arg(long = "web.allow-unprotected")]
    pub unprotected: bool,
    /// What goes wrong with the concentrator
    #[arg(long, value_name = "WHAT", value_enum, default_value = "loop")]
    pub story: Told,
    /// Short for --story once
    #[arg(long, conflicts_with = "story")]
    pub once: bool,
    /// Only the concentrator, for other programs to talk to
    #[arg(long, hide = true)]
    pub concentrator_only: bool,
    /// The concentrator is on the ports of the standards, or nowhere
    #[arg(long, hide = true)]
    pub standard_ports: bool,
    /// The concentrator's address
    #[arg(long, hide = true)]
    pub address: Option<IpAddr>,
    /// The concentrator's OpenVPN wraps control packets with this static key (tls-crypt)
    #[arg(long, hide = true, value_name = "FILE")]
    pub openvpn_tls_crypt: Option<PathBuf>,
    /// The same with tls-auth: SHA1, key direction 0 here and 1 at the client
    #[arg(long, hide = true, value_name = "FILE", conflicts_with = "openvpn_tls_crypt")]
    pub openvpn_tls_auth: Option<PathBuf>,
}

impl Demo {
    /// Runs the demo until it is told to stop.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let story = match self.story {
            _ if self.once => Story::Once,
            Told::Loop => Story::Loop,
            Told::Once => Story::Once,
            Told::None => Story::None,
        };
        if let Err(problem) = crate::app::guard(None, &self.listen, self.unprotected) {
            super::complain(&problem);
            return ExitCode::from(super::USAGE);
        }
        crate::demo::run(&DemoArgs {
            listen: self.listen,
            story,
            concentrator_only: self.concentrator_only,
            standard_ports: self.standard_ports,
            address: self.address,
            openvpn_tls_crypt: self.openvpn_tls_crypt,
            openvpn_tls_auth: self.openvpn_tls_auth,
        })
    }
}
