/** A browser for tests, as far as logging in at an OpenID Connect provider's plain forms goes: follows redirects, keeps cookies, fills in and sends forms. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';

interface Page {
  readonly status: number;
  readonly location: string | undefined;
  readonly text: string;
  readonly cookies: readonly string[];
}

const MAX_STEPS = 30;

/** Visits an address and goes on until a page has no form; answers that page's text. fill: values for fields by name. */
export async function browse(
  start: string,
  { ca, fill }: { readonly ca: string; readonly fill: Readonly<Record<string, string>> },
): Promise<string> {
  const jar = new Map<string, string>();
  let next: { readonly url: string; readonly form?: URLSearchParams } = { url: start };
  for (let step = 0; step < MAX_STEPS; step++) {
    const page = await load(next, {
      ca,
      cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; '),
    });
    for (const cookie of page.cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (value === '') jar.delete(name);
      else jar.set(name, value);
    }
    if (page.location !== undefined) {
      next = { url: new URL(page.location, next.url).href };
      continue;
    }
    const form = formOf(page.text, fill);
    if (!form) return page.text;
    next = { url: new URL(form.action || next.url, next.url).href, form: form.fields };
  }
  throw new Error(`no end after ${MAX_STEPS} pages, now at ${next.url}`);
}

function formOf(
  html: string,
  fill: Readonly<Record<string, string>>,
): { readonly action: string; readonly fields: URLSearchParams } | undefined {
  const [, attributes, body = ''] = /<form([^>]*)>([\s\S]*?)<\/form>/i.exec(html) ?? [];
  if (attributes === undefined) return undefined;
  const fields = new URLSearchParams();
  for (const [, input = ''] of body.matchAll(/<input([^>]*)>/gi)) {
    const name = attribute(input, 'name');
    if (name !== undefined) fields.set(name, fill[name] ?? attribute(input, 'value') ?? '');
  }
  for (const [, button = ''] of body.matchAll(/<button([^>]*)>/gi)) {
    const name = attribute(button, 'name');
    if (name !== undefined && name !== 'abort') fields.set(name, attribute(button, 'value') ?? '');
  }
  return { action: attribute(attributes, 'action') ?? '', fields };
}

function attribute(text: string, name: string): string | undefined {
  return new RegExp(`\\b${name}="([^"]*)"`, 'i').exec(text)?.[1]?.replaceAll('&amp;', '&');
}

function load(
  { url, form }: { readonly url: string; readonly form?: URLSearchParams },
  { ca, cookie }: { readonly ca: string; readonly cookie: string },
): Promise<Page> {
  const text = form?.toString();
  const headers = {
    ...(cookie ? { cookie } : {}),
    ...(text === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
    accept: 'text/html',
  };
  return new Promise((resolve, reject) => {
    const call = (url.startsWith('https:') ? httpsRequest : httpRequest)(
      url,
      { method: text === undefined ? 'GET' : 'POST', headers, ca, agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            location: response.headers.location,
            text: Buffer.concat(chunks).toString(),
            cookies: response.headers['set-cookie'] ?? [],
          }),
        );
      },
    );
    call.on('error', reject);
    call.end(text);
  });
}
