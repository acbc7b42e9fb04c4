import { storageSuite } from '../storage.suite.ts';
import { createMemoryStore } from './memory.ts';

storageSuite('memory', async (options) => {
  const store = createMemoryStore(options);
  return { store, dispose: () => store.close() };
});
