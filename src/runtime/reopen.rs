//! Opens a model anew while the process serves: as its files are now, or on the CPU after its accelerator was lost.
//!
//! Owns what becomes of the options then. It must not know who asks, or what serves meanwhile.

use super::Model;
use super::golden::{self, Golden};
use super::manifest::Manifest;
use super::open::{OpenError, runtime};
use super::options::{Kind, Options, Precision, Provider};
use super::provider::register::roster;

impl Model {
    /// Opens one of the models that the options name as its files are now, with what it must score.
    ///
    /// # Errors
    /// As [`Model::open_all`].
    pub fn open_again(options: &Options, id: &str) -> Result<(Self, Vec<Golden>), OpenError> {
        let runtime = runtime(options)?;
        let roster = roster(options, &runtime)?;
        let name = options.named(id);
        let golden = golden::read(&Manifest::open(&options.dir, name)?.dir)?;
        Ok((Self::open_verified(options, name, (&runtime, &roster))?, golden))
    }

    /// Opens a model on the CPU of this host after the devices of the provider that ran it were lost, over the library that
    /// is loaded: in the precision that was asked for where the CPU has a graph of it, else in that of its files.
    ///
    /// # Errors
    /// As [`Model::open_all`].
    pub fn open_on_cpu(options: &Options, id: &str, lost: &str) -> Result<(Self, Vec<Golden>), OpenError> {
        // Asked before the provider is changed: the library that is installed is the other provider's.
        let runtime = runtime(options)?;
        let on_cpu = |precision| Options { provider: Provider::Only(Kind::Cpu), precision, ..options.clone() };
        let name = options.named(id);
        let open = |options: &Options| Self::open_verified(options, name, (&runtime, &roster(options, &runtime)?));
        let mut model = match open(&on_cpu(options.precision)) {
            Err(OpenError::Precision { .. }) => open(&on_cpu(Precision::Auto))?,
            other => other?,
        };
        model.card.execution.moved_from = Kind::of(lost).map(Kind::word);
        Ok((model, golden::read(&Manifest::open(&options.dir, name)?.dir)?))
    }
}

impl Options {
    /// What a model of these options must score.
    ///
    /// # Errors
    /// When its folder or its golden pairs are not understood.
    pub fn golden(&self, id: &str) -> Result<Vec<Golden>, OpenError> {
        Ok(golden::read(&Manifest::open(&self.dir, self.named(id))?.dir)?)
    }

    /// The name under which a model was configured: the path of a folder may stand for the id that the folder gives.
    fn named<'n>(&'n self, id: &'n str) -> &'n str {
        let names = |name: &&String| Manifest::open(&self.dir, name).is_ok_and(|manifest| manifest.id == id);
        let name = self.ids.iter().find(|name| *name == id).or_else(|| self.ids.iter().find(names));
        name.map_or(id, String::as_str)
    }
}
