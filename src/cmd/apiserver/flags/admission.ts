/** Flags of admission, with upstream's names, turned into settings. Reads the configuration file: an error in it ends the start. */
import { createRequire } from 'node:module';
import { createAdmission, type AdmissionOptions } from '#apiserver/admission/list.ts';
import type { AdmissionPlugin } from '#apiserver/admission/plugin.ts';
import { UserError } from '#deploy/data-dir.ts';
import { errorMessage } from '#stdx/log.ts';
import type { GivenFlags } from '../../flags/define.ts';
import type { ADMISSION_FLAGS } from '../flags.ts';
import type { AdmissionSettings } from '../settings.ts';

const require = createRequire(import.meta.url);

type AdmissionFlags = GivenFlags<typeof ADMISSION_FLAGS>;

/** undefined = the defaults. */
export function admissionSettings({
  enableAdmissionPlugins: enabled,
  disableAdmissionPlugins: disabled,
  admissionControlConfigFile: file,
}: AdmissionFlags): AdmissionSettings | undefined {
  if (!enabled && !disabled && file === undefined) return undefined;
  return {
    enabled,
    disabled,
    ...(file === undefined ? {} : { configuration: configurationOf(file) }),
  };
}

function configurationOf(file: string): AdmissionOptions['configuration'] & object {
  try {
    // YAML is not needed without it.
    const { readAdmissionConfiguration } =
      require('../../../apiserver/admission/configuration.ts') as typeof import('#apiserver/admission/configuration.ts');
    return readAdmissionConfiguration(file);
  } catch (error) {
    throw new UserError(`--admission-control-config-file: ${errorMessage(error)}.`, error);
  }
}

/** The plugins; a wrong name or a missing configuration is the user's to mend. */
export function admissionFrom(options: AdmissionOptions): readonly AdmissionPlugin[] {
  try {
    return createAdmission(options);
  } catch (error) {
    throw new UserError(`${errorMessage(error)}.`, error);
  }
}
