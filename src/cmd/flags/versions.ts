/** --emulated-version and --min-compatibility-version of API server, controller manager and scheduler, with upstream's formats, ranges and messages. */
import { UserError } from '#deploy/data-dir.ts';
import {
  ALLOWED_VERSIONS,
  effectiveVersionFrom,
  type EffectiveVersion,
} from '#machinery/effective-version.ts';
import { errorMessage } from '#stdx/log.ts';
import { flagKinds, refusedFlags, type GivenFlags } from './define.ts';

const flag = flagKinds();

export const VERSION_FLAGS = {
  'emulated-version': flag.list({
    placeholder: '<version>',
    help: `the Kubernetes version to behave as, in APIs, feature gates and defaults: kube=${ALLOWED_VERSIONS}`,
    defaultText: "the program's own",
  }),
  'min-compatibility-version': flag.list({
    placeholder: '<version>',
    help: `the oldest version of API servers that read what this one stores, not newer than the emulated one: kube=${ALLOWED_VERSIONS}`,
    defaultText: 'the one before the emulated version',
  }),
  ...refusedFlags('what is newer than the emulated version is not served', [
    'emulation-forward-compatible',
    'runtime-config-emulation-forward-compatible',
  ]),
};

export type VersionFlags = GivenFlags<typeof VERSION_FLAGS>;

/** Throws a UserError. */
export function versionsFrom({ emulatedVersion, minCompatibilityVersion }: VersionFlags): EffectiveVersion {
  try {
    return effectiveVersionFrom({ emulated: emulatedVersion, minCompatibility: minCompatibilityVersion });
  } catch (error) {
    throw new UserError(`--emulated-version, --min-compatibility-version: ${errorMessage(error)}.`, error);
  }
}
