/** /statusz and /flagz of the API server. */
import { flagzPage, statuszPage, type ZPage } from '#machinery/z-pages.ts';
import type { RequestContext } from '../context.ts';
import { encodeObject } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';

export interface VersionInfo extends Readonly<Record<string, string>> {
  readonly major: string;
  readonly minor: string;
  readonly emulationMajor: string;
  readonly emulationMinor: string;
  readonly minCompatibilityMajor: string;
  readonly minCompatibilityMinor: string;
  readonly gitVersion: string;
  readonly gitCommit: string;
  readonly gitTreeState: string;
  readonly buildDate: string;
  readonly goVersion: string;
  readonly compiler: string;
  readonly platform: string;
}

const NAME = 'apiserver';

/** paths: those that are for debugging. */
export function statusz(
  { request }: RequestContext,
  { version, paths }: { readonly version: VersionInfo; readonly paths: readonly string[] },
): ApiResponse {
  const { gitVersion, emulationMajor, emulationMinor } = version;
  return respond(
    statuszPage(request.headers['accept'], {
      name: NAME,
      gitVersion,
      emulationVersion: `${emulationMajor}.${emulationMinor}`,
      paths,
    }),
  );
}

/** flags: by name, without dashes, as they hold now. */
export function flagz({ request }: RequestContext, flags: Readonly<Record<string, string>>): ApiResponse {
  return respond(flagzPage(request.headers['accept'], { name: NAME, flags }));
}

function respond({ headers, text, object, encoding = 'json' }: ZPage): ApiResponse {
  const body = object ? encodeObject(object, encoding).body : Buffer.from(text);
  return { status: 200, headers, body };
}
