//! What is left when the rights are gone: the files (Landlock) and the system calls (seccomp) that the
//! daemon needs, and nothing else.
//!
//! Invariants: both only shrink, and hold for the calling thread and all that it starts later; what is
//! not in the list does not exist for it (ENOSYS, as on an older kernel, so that a library falls back);
//! what only an intruder would call ends the process. The list is held to by tests that run the engine
//! and whole labs inside.

use std::collections::BTreeMap;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// What the process may still touch of the file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// To read, with all below; those that do not exist are left out.
    pub read: Vec<PathBuf>,
    /// To read and write, with all below.
    pub write: Vec<PathBuf>,
    /// Whether network namespaces are entered.
    pub namespaces: bool,
}

/// What holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Landlock: nothing for no such kernel.
    pub files: Option<Files>,
    /// Whether system calls are filtered.
    pub calls: bool,
}

/// How far Landlock goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// All that is asked.
    Whole,
    /// What an older kernel can.
    Part,
}

/// What every host has to offer: names, routes, interfaces, trust, time zones.
const COMMON: &[&str] = &[
    "/etc",
    "/proc",
    "/sys/class/net",
    "/sys/devices",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/netns",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/dev/urandom",
];

/// Locks the calling thread, and all it will start, in. Comes after sockets and listeners are open.
///
/// # Errors
/// The kernel has such a thing and refuses; what was locked until then stays so.
pub fn enter(paths: &Paths) -> Result<Held, String> {
    Ok(Held {
        files: files(paths).map_err(|error| format!("Landlock: {error}"))?,
        calls: calls(paths.namespaces)?,
    })
}

fn files(paths: &Paths) -> Result<Option<Files>, landlock::RulesetError> {
    let abi = ABI::V6;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(abi) & !(AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar);
    let known = COMMON.iter().map(PathBuf::from).chain(paths.read.iter().cloned());
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(known, read))?
        .add_rules(path_beneath_rules(&paths.write, write))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Some(Files::Whole),
        RulesetStatus::PartiallyEnforced => Some(Files::Part),
        RulesetStatus::NotEnforced => None,
    })
}

/// Whether system calls can be filtered on this architecture.
fn calls(namespaces: bool) -> Result<bool, String> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(OLD).map(|call| (*call, Vec::new())).collect();
    if namespaces {
        allowed.insert(libc::SYS_setns, Vec::new());
    }
    let failed = |error: &dyn std::fmt::Display| format!("the filter of system calls: {error}");
    let only = |argument, op, value: u64| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| failed(&error))
    };
    let mut families = Vec::new();
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] {
        families.push(only(0, SeccompCmpOp::Eq, u64::from(family.unsigned_abs()))?);
    }
    allowed.insert(libc::SYS_socket, families);
    // Threads, and no name spaces. The flags of clone3 cannot be seen: it does not exist, and glibc falls
    // back to this one.
    let spaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let spaces = spaces.iter().fold(0, |all, one| all | u64::from(one.unsigned_abs()));
    allowed.insert(libc::SYS_clone, vec![only(0, SeccompCmpOp::MaskedEq(spaces), 0)?]);
    let deadly: BTreeMap<i64, Vec<SeccompRule>> = DEADLY.iter().map(|call| (*call, Vec::new())).collect();

    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let install = |rules, otherwise, action| -> Result<(), String> {
        let filter = SeccompFilter::new(rules, otherwise, action, arch).map_err(|error| failed(&error))?;
        let program = BpfProgram::try_from(filter).map_err(|error| failed(&error))?;
        apply_filter(&program).map_err(|error| failed(&error))
    };
    // The most severe of two filters counts. The second one no longer lets a third in.
    install(deadly, SeccompAction::Allow, SeccompAction::KillProcess)?;
    install(allowed, absent, SeccompAction::Allow)?;
    Ok(true)
}

/// What ends the process.
const DEADLY: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];

/// What the daemon calls, or what its libraries call on other kernels and C libraries.
const ALLOWED: &[i64] = &[
    // memory and threads
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_prctl,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_capget,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // signals
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    // time
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    // waiting
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    // the network
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    // files
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_flock,
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_umask,
];

/// The older forms, on the one architecture that has them.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[
    libc::SYS_arch_prctl,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
    libc::SYS_getrlimit,
];
/// None.
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];
