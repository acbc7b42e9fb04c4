/**
 * Certificate and key files of flags, reloaded while the API server runs: a changed file takes effect; a damaged one, or one that does not match the
 * others, is only logged.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { ProxyClientCertificate } from '#apiserver/aggregation/extension-service.ts';
import type { ServiceAccountKeyMaterial } from '#apiserver/authn/service-account-keys.ts';
import type { TlsMaterial } from '#apiserver/http/listener.ts';
import { belongsTo } from '#pki/chain.ts';
import { certificatesIn } from '#pki/pem.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles, type WatchedFiles } from '#stdx/watched-files.ts';

/** Paths; absent = not from a file of its own. */
export interface FollowedFiles {
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly clientCa?: string | undefined;
  readonly frontProxyCa?: string | undefined;
  readonly proxyClientCert?: string | undefined;
  readonly proxyClientKey?: string | undefined;
  readonly kubeletClientCert?: string | undefined;
  readonly kubeletClientKey?: string | undefined;
  readonly peerCa?: string | undefined;
  readonly signingKey?: string | undefined;
  readonly publicKeys?: readonly string[] | undefined;
}

interface FollowOptions {
  /** The initial contents. */
  readonly tls: TlsMaterial;
  readonly keys: ServiceAccountKeyMaterial;
  /** What extension API servers are shown. */
  readonly proxyClient?: ProxyClientCertificate | undefined;
  /** What kubelets are shown. */
  readonly kubeletClient?: ProxyClientCertificate | undefined;
  /** What peers are verified by. */
  readonly peerCa?: string | undefined;
  /** Throws an Error for material that does not fit together. */
  replaceTls(tls: TlsMaterial): void;
  replaceKeys(keys: ServiceAccountKeyMaterial): void;
  replaceProxyClient(client: ProxyClientCertificate): void;
  replaceKubeletClient(client: ProxyClientCertificate): void;
  replacePeerAuthorities(ca: string): void;
  readonly clock: Clock;
  readonly log: Logger;
}

const TLS_FILES = ['cert', 'key', 'clientCa', 'frontProxyCa'] as const;

export function followFiles(files: FollowedFiles, options: FollowOptions): { close(): void } {
  const watched: WatchedFiles[] = [];
  const { clock, log, replaceTls, replaceKeys } = options;
  const follow = (
    paths: readonly string[],
    {
      take,
      isKnown,
    }: {
      readonly take: (contents: readonly string[]) => void;
      readonly isKnown: (contents: readonly string[]) => boolean;
    },
  ): void => {
    if (paths.length === 0) return;
    const names = paths.join(', ');
    watched.push(
      watchFiles({
        paths,
        clock,
        isKnown,
        changed(contents) {
          try {
            take(contents);
            log.info('certificates or keys reloaded', { files: names });
          } catch (error) {
            log.error('changed certificates or keys are invalid, keeping the previous ones', {
              files: names,
              error: errorMessage(error),
            });
          }
        },
        unreadable: (error) =>
          log.error('error reading certificates or keys, keeping the previous ones', {
            files: names,
            error: error.message,
          }),
      }),
    );
  };
  let { tls, keys } = options;
  const named = TLS_FILES.flatMap((name) => (files[name] === undefined ? [] : [{ name, path: files[name] }]));
  follow(
    named.map(({ path }) => path),
    {
      isKnown: (contents) => named.every(({ name }, index) => String(tls[name] ?? '') === contents[index]),
      take(contents) {
        const next = {
          ...tls,
          ...Object.fromEntries(named.map(({ name }, index) => [name, contents[index]!])),
        };
        for (const [index, { name, path }] of named.entries())
          if (name !== 'key') checkCertificates(contents[index]!, path);
        replaceTls(next);
        tls = next;
      },
    },
  );
  const followClient = (
    paths: { readonly cert: string | undefined; readonly key: string | undefined },
    start: ProxyClientCertificate | undefined,
    replace: (client: ProxyClientCertificate) => void,
  ): void => {
    if (paths.cert === undefined || paths.key === undefined) return;
    const names = [paths.cert, paths.key] as const;
    let client = start;
    follow(names, {
      isKnown: ([cert, key]) => cert === client?.cert && key === client?.key,
      take([cert = '', key = '']) {
        checkCertificates(cert, names[0]);
        if (!belongsTo(new X509Certificate(cert), key))
          throw new Error(`${names[0]} does not belong to ${names[1]}`);
        client = { cert, key };
        replace(client);
      },
    });
  };
  followClient({ cert: files.proxyClientCert, key: files.proxyClientKey }, options.proxyClient, (client) =>
    options.replaceProxyClient(client),
  );
  followClient(
    { cert: files.kubeletClientCert, key: files.kubeletClientKey },
    options.kubeletClient,
    (client) => options.replaceKubeletClient(client),
  );
  let { peerCa } = options;
  if (files.peerCa !== undefined)
    follow([files.peerCa], {
      isKnown: ([ca]) => ca === peerCa,
      take([ca = '']) {
        checkCertificates(ca, files.peerCa!);
        peerCa = ca;
        options.replacePeerAuthorities(ca);
      },
    });
  const { signingKey, publicKeys = [] } = files;
  const keysIn = (contents: readonly string[]): ServiceAccountKeyMaterial =>
    signingKey === undefined
      ? { signingKeyPem: keys.signingKeyPem, publicKeyPems: contents }
      : // The signing key's own public key is accepted in any case.
        { signingKeyPem: contents[0]!, publicKeyPems: contents.slice(1) };
  follow([...(signingKey === undefined ? [] : [signingKey]), ...publicKeys], {
    isKnown(contents) {
      const { signingKeyPem, publicKeyPems = [] } = keysIn(contents);
      const known = keys.publicKeyPems?.join('\n') ?? '';
      return (
        signingKeyPem === keys.signingKeyPem && publicKeyPems.every((text) => known.includes(text.trim()))
      );
    },
    take(contents) {
      const next = keysIn(contents);
      createPrivateKey(next.signingKeyPem);
      for (const [index, text] of (next.publicKeyPems ?? []).entries())
        if (!text.includes('-----BEGIN')) throw new Error(`${publicKeys[index]!} has no key in PEM`);
      replaceKeys(next);
      keys = next;
    },
  });
  return {
    close() {
      for (const one of watched) one.close();
    },
  };
}

function checkCertificates(pem: string, path: string): void {
  if (certificatesIn(pem).length === 0) throw new Error(`${path} has no certificate in PEM`);
}
