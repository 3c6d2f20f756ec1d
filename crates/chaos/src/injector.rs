//! Applies the faults of the plan to the environment, and undoes them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devstack::Signal;
use devstack::breaker::Mode;

use crate::environment::Environment;
use crate::plan::{FaultKind, Target};

/// Time limit for the service to exit after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);

impl Environment {
    /// Injects all at once. Faults for a service or its connections hit the service with this number.
    pub(crate) fn strike(&mut self, kinds: &[FaultKind], number: usize) -> Result<()> {
        self.look_at_services();
        for kind in kinds {
            if let FaultKind::PowerOff(target) = kind {
                self.servers.freeze(*target);
            }
        }
        kinds.iter().try_for_each(|&kind| self.strike_one(kind, number))
    }

    fn strike_one(&mut self, kind: FaultKind, number: usize) -> Result<()> {
        let service = &mut self.services[number];
        match kind {
            FaultKind::Kill(Target::Service) => self.kill_service(number),
            FaultKind::Kill(Target::Postgres) => self.servers.kill_postgres(),
            FaultKind::Kill(Target::Nats) => self.servers.kill_nats(),
            FaultKind::Pause(Target::Service) => service.signal(Signal::STOP),
            FaultKind::Pause(Target::Postgres) => self.servers.pause_postgres(),
            FaultKind::Pause(Target::Nats) => self.servers.pause_nats(),
            FaultKind::Terminate => {
                service.terminated_at = Some(Instant::now());
                service.signal(Signal::TERM);
            }
            FaultKind::Break(side, mode) => service.breakers(side).iter().for_each(|it| it.set(mode)),
            FaultKind::PowerOff(target) => self.servers.lose_power(target)?,
            FaultKind::Damage(damage) => self.servers.damage_nats(damage)?,
            // Identified by its connection to the server.
            FaultKind::Restore => {}
        }
        Ok(())
    }

    /// Undoes what has lasted for `lasted`.
    pub(crate) fn undo(&mut self, kind: FaultKind, number: usize, lasted: Duration) -> Result<()> {
        match kind {
            FaultKind::Kill(Target::Service) => self.start_service(number)?,
            FaultKind::Pause(Target::Service) => self.services[number].signal(Signal::CONT),
            FaultKind::Kill(Target::Postgres) | FaultKind::Pause(Target::Postgres) => {
                self.servers.recover_postgres(lasted)?
            }
            FaultKind::Kill(Target::Nats) | FaultKind::Pause(Target::Nats) | FaultKind::Damage(_) => {
                self.servers.mend_nats()?
            }
            FaultKind::PowerOff(target) => self.servers.power_on(target)?,
            FaultKind::Restore => {}
            FaultKind::Terminate => self.replace_terminated(number)?,
            FaultKind::Break(side, _) => {
                self.services[number].breakers(side).iter().for_each(|it| it.set(Mode::Pass));
            }
        }
        Ok(())
    }

    /// It must have exited by itself, with code 0, in time, whatever else is broken.
    fn replace_terminated(&mut self, number: usize) -> Result<()> {
        let service = &mut self.services[number];
        let terminated_at = service.terminated_at.take().context("the service got no SIGTERM")?;
        if let Some(mut process) = service.process.take() {
            match process.wait(DRAIN.saturating_sub(terminated_at.elapsed())) {
                Some(status) if status.success() => {}
                Some(status) => self.complain(format!("ended with {status} after SIGTERM")),
                None => self.complain(format!("did not end within {} s of SIGTERM", DRAIN.as_secs())),
            }
            process.end(Signal::KILL);
        }
        self.start_service(number)
    }
}
