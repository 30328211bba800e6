//! What every [`Store`](tidegate_store::Store) promises.
