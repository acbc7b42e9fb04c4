/** Maps the flags of `capstan apiserver` to the options of compose.ts. Opens no store and no port. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '#deploy/data-dir.ts';
import type { Pki } from '#deploy/pki/pki.ts';
import { errorMessage } from '#stdx/log.ts';
import { serviceAccountTokensFrom, tokenSourcesFrom } from './flags/authentication.ts';
import { admissionSettings } from './flags/admission.ts';
import { encryptionFrom } from './flags/encryption.ts';
import { authorizationSettings } from './flags/authorization.ts';
import { auditSettings } from './flags/audit.ts';
import { changeLogFrom } from './flags/change-log.ts';
import { loginOptions } from './flags/login.ts';
import { aggregationFrom } from './flags/aggregation.ts';
import { requestLimitsFrom } from './flags/request-limits.ts';
import { peersFrom } from './flags/peers.ts';
import { servingFrom } from './flags/serving.ts';
import type { ComposeOptions } from './compose.ts';
import { collectSettings, shownFlags } from '../flags/define.ts';
import { API_SERVER_FLAGS, type ApiServerFlags } from './flags.ts';
import type { ApiServerSettings } from './settings.ts';
import { tlsSettingsFrom } from '../tls-flags.ts';
import { keysFrom, readPem } from './keys.ts';

/** All that flags change of a server, wherever its store and addresses come from. */
export function composeOptionsFrom(
  flags: ApiServerFlags,
  { settings, pki }: { readonly settings: ApiServerSettings; readonly pki: Pki | undefined },
): Pick<ComposeOptions, 'pki' | 'settings' | 'extensions' | 'peers' | 'serving' | 'flags'> {
  const serving = servingFrom(flags);
  const extensions = aggregationFrom(flags, { pki, readPem });
  return {
    pki: keysFrom(flags, pki),
    settings,
    extensions,
    peers: peersFrom(flags, {
      isOn: serving.features.UnknownVersionInteroperabilityProxy,
      hasProxyClient: extensions.aggregation?.proxyClient !== undefined,
      readPem,
    }),
    serving,
    // Secrets are in files, which flags only name.
    flags: shownFlags(API_SERVER_FLAGS, flags),
  };
}

/** Settings from the flags, beside keys and addresses. Changes nothing. pkiDir: where missing keys will be created. */
export function settingsFrom(flags: ApiServerFlags, pkiDir: string | undefined): ApiServerSettings {
  const { tokenAuthFile } = flags;
  if (tokenAuthFile !== undefined) readFileFor('--token-auth-file', tokenAuthFile);
  const serviceNodePorts =
    flags.serviceNodePortRange === undefined ? undefined : portRange(flags.serviceNodePortRange);
  const authorization = authorizationSettings(flags);
  const login = loginOptions(flags, { pkiDir });
  const tokenSources = tokenSourcesFrom(flags);
  const encryption = encryptionFrom(flags);
  const admission = admissionSettings(flags);
  const serviceAccountTokens = serviceAccountTokensFrom(flags);
  const own = collectSettings<ApiServerSettings>(API_SERVER_FLAGS, flags);
  return {
    ...own,
    ...(encryption ? { encryption } : {}),
    ...(login ? { login } : {}),
    ...requestLimitsFrom(flags),
    audit: auditSettings(flags),
    changeLog: changeLogFrom(flags),
    tls: tlsSettingsFrom(flags),
    ...(tokenSources ? { tokenSources } : {}),
    files: pkiDir === undefined ? (own.files ?? {}) : withFilesOfPki(own.files, pkiDir),
    serviceAccounts: { ...own.serviceAccounts, ...serviceAccountTokens },
    ...(authorization ? { authorization } : {}),
    ...(admission ? { admission } : {}),
    server: { ...own.server, serviceNodePorts },
  };
}

/** Those of the data directory, in the absence of flags. Its keys of service accounts go together with those of flags, unless a flag names the signing key. */
function withFilesOfPki(
  given: ApiServerSettings['files'] = {},
  dir: string,
): NonNullable<ApiServerSettings['files']> {
  const certificate = (name: string): string => join(dir, `${name}.crt`);
  const key = (name: string): string => join(dir, `${name}.key`);
  const serviceAccounts =
    given.signingKey === undefined
      ? { signingKey: key('sa'), publicKeys: [join(dir, 'sa.pub'), ...(given.publicKeys ?? [])] }
      : {};
  return {
    cert: certificate('apiserver'),
    key: key('apiserver'),
    clientCa: certificate('ca'),
    frontProxyCa: certificate('front-proxy-ca'),
    proxyClientCert: certificate('front-proxy-client'),
    proxyClientKey: key('front-proxy-client'),
    kubeletClientCert: certificate('apiserver-kubelet-client'),
    kubeletClientKey: key('apiserver-kubelet-client'),
    ...given,
    ...serviceAccounts,
  };
}

function readFileFor(flag: string, path: string): void {
  try {
    readFileSync(path);
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
}

function portRange(text: string): { readonly from: number; readonly to: number } {
  const [, from = '', to = ''] = /^(\d+)-(\d+)$/.exec(text) ?? [];
  if (from === '' || Number(from) < 1 || Number(to) > 65535 || Number(from) > Number(to))
    throw new UserError(
      `--service-node-port-range is "${text}"; it should be FROM-TO, for example 30000-32767.`,
    );
  return { from: Number(from), to: Number(to) };
}
