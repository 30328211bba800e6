//! Both stores keep every promise of a store, and both are one.

use proptest::prelude::*;
use tempfile::TempDir;
use tidegate_conformance::store::{
    Place,
    differential::{any_call, compare},
};
use tidegate_store::{MemoryStore, SqliteStore, Store};

mod memory {
    tidegate_conformance::store_suite!(
        #[tokio::test]
        super::InMemory::default()
    );
}

mod sqlite {
    tidegate_conformance::store_suite!(
        #[tokio::test]
        super::OnDisk::new()
    );
}

#[derive(Default)]
struct InMemory(MemoryStore);

impl Place for InMemory {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    fn reopen(&mut self) {}
}

struct OnDisk {
    /// None only while it is opened again.
    store: Option<SqliteStore>,
    folder: TempDir,
}

impl OnDisk {
    fn new() -> Self {
        let mut place = Self { store: None, folder: tempfile::tempdir().unwrap() };
        place.reopen();
        place
    }
}

impl Place for OnDisk {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(SqliteStore::open(self.folder.path().join("tidegate.db")).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_are_one(calls in prop::collection::vec(any_call(), 0..40)) {
        let mut place = OnDisk::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            compare(&calls, &mut place).await?;
            place.store.as_ref().unwrap().check().await.unwrap();
            Ok::<_, TestCaseError>(())
        })?;
    }
}
