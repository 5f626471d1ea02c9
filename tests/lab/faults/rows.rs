//! The rows of the fault table, in the order they are run. A row leaves its lab as it found it.

mod ipsec;
mod office;
mod tls;

/// One fault.
pub struct Row {
    /// What is wrong, for people; never for `check`.
    pub what: &'static str,
    /// Rows with the same letter are easily taken for each other. They share their configuration.
    pub beside: &'static str,
    /// What `check` knows: the configuration.
    pub config: &'static str,
    /// What else must run first, in words of `lab.sh`.
    pub before: &'static [&'static str],
    /// How the fault is made.
    pub fault: &'static [&'static str],
    /// How it is taken away; what the firewalls were told goes by itself.
    pub undo: &'static [&'static str],
    /// The step it is about.
    pub step: &'static str,
    /// The true verdict: `VERDICT: STEP STATUS REASON`.
    pub says: &'static str,
    /// What the text of that step must not leave out, above all what cannot be known.
    pub tells: &'static str,
}

const ROW: Row = Row {
    what: "",
    beside: "",
    config: "",
    before: &[],
    fault: &[],
    undo: &[],
    step: "ports",
    says: "",
    tells: "",
};

/// Three labs at once: most of a row's time is spent waiting for what does not come.
pub const LABS: [&[Row]; 3] = [ipsec::ROWS, tls::ROWS, office::ROWS];
