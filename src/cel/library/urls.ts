/** URLs. */
import { readAndKeep } from '../estimates.ts';
import { fail, opaque, type Add } from './add.ts';

class CelURL {
  readonly url: URL;
  readonly text: string;
  constructor(url: URL, text: string) {
    this.url = url;
    this.text = text;
  }

  equals(other: CelURL): boolean {
    return this.url.href === other.url.href;
  }
}

export const URL_TYPE = opaque('kubernetes.URL', CelURL);

function parseUrl(text: string): CelURL | undefined {
  if (text.startsWith('/') && URL.canParse(text, 'path://x'))
    return new CelURL(new URL(text, 'path://x'), text);
  return URL.canParse(text) ? new CelURL(new URL(text), text) : undefined;
}

export function addUrls(add: Add): void {
  const isPath = ({ text }: CelURL): boolean => text.startsWith('/');
  add('url(string): kubernetes.URL', {
    estimate: readAndKeep,
    run: (text: string) =>
      parseUrl(text) ??
      fail(
        `URL parse error during conversion from string: parse ${JSON.stringify(text)}: invalid URI for request`,
      ),
  });
  add('isURL(string): bool', (text: string) => parseUrl(text) !== undefined);
  add('kubernetes.URL.getScheme(): string', (url: CelURL) =>
    isPath(url) ? '' : url.url.protocol.slice(0, -1),
  );
  add('kubernetes.URL.getHost(): string', (url: CelURL) => (isPath(url) ? '' : hostOf(url).host));
  add('kubernetes.URL.getHostname(): string', (url: CelURL) =>
    isPath(url) ? '' : url.url.hostname.replace(/^\[|\]$/g, ''),
  );
  add('kubernetes.URL.getPort(): string', (url: CelURL) => (isPath(url) ? '' : hostOf(url).port));
  add('kubernetes.URL.getEscapedPath(): string', ({ url, text }: CelURL) =>
    url.pathname === '/' && !/^[^?#]*[^/:]\/($|[?#])/.test(text) && !text.startsWith('/') ? '' : url.pathname,
  );
  add('kubernetes.URL.getQuery(): map<string, list<string>>', ({ url }: CelURL) => {
    const query = new Map<string, string[]>();
    for (const [key, value] of url.searchParams) query.set(key, [...(query.get(key) ?? []), value]);
    return query;
  });
}

/** As written: the platform's URL drops default ports. */
function hostOf({ text, url }: CelURL): { readonly host: string; readonly port: string } {
  const authority = /^[^:]+:\/\/(?:[^@/?#]*@)?([^/?#]*)/.exec(text)?.[1] ?? url.host;
  return { host: authority, port: /:(\d+)$/.exec(authority)?.[1] ?? '' };
}
