/** Plugins that are off by default: optional.ts, loaded with the first of them that is on. */
import { createRequire } from 'node:module';
import type { OptionalPluginOptions } from './optional.ts';
import type { OptionalPlugin } from './optional-plugin-names.ts';
import type { AdmissionPlugin } from './plugin.ts';

const require = createRequire(import.meta.url);

/** Throws an Error when the plugin's configuration is missing or cannot be used. */
export function loadOptionalPlugin(name: OptionalPlugin, options: OptionalPluginOptions): AdmissionPlugin {
  return (require('./optional.ts') as typeof import('./optional.ts')).optionalPlugin(name, options);
}
