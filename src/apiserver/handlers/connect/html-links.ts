/**
 * Links in HTML that a pod or service serves through the proxy subresource: those within its own host are made to lead through the proxy, as they come.
 * Everything else passes byte by byte. It is no HTML parser: it finds tags, leaves comments and the text of scripts and styles alone, and changes
 * attributes that hold one URL. After upstream's proxy transport.
 */
import { Transform, type TransformCallback } from 'node:stream';

/** Which attributes of which tags are URLs. */
const ATTRIBUTES: Readonly<Record<string, readonly string[]>> = {
  a: ['href'],
  applet: ['codebase'],
  area: ['href'],
  audio: ['src'],
  base: ['href'],
  blockquote: ['cite'],
  body: ['background'],
  button: ['formaction'],
  command: ['icon'],
  del: ['cite'],
  embed: ['src'],
  form: ['action'],
  frame: ['longdesc', 'src'],
  head: ['profile'],
  html: ['manifest'],
  iframe: ['longdesc', 'src'],
  img: ['longdesc', 'src', 'usemap'],
  input: ['src', 'usemap', 'formaction'],
  ins: ['cite'],
  link: ['href'],
  object: ['classid', 'codebase', 'data', 'usemap'],
  q: ['cite'],
  script: ['src'],
  source: ['src'],
  video: ['poster', 'src'],
};
/** Their text is none of HTML's. */
const RAW_TEXT = new Set(['script', 'style', 'textarea', 'title']);
/** What looks like a tag and goes on for longer is none: it passes as it is. */
const MAX_TAG_BYTES = 64 * 1024;

/** rewrite gets an attribute's value as it is written. */
export function htmlLinks(rewrite: (url: string) => string): Transform {
  let rest = '';
  /** The end that is waited for: of a comment, or of raw text. */
  let until: RegExp | undefined;
  const take = (text: string, isLast: boolean): { readonly done: string; readonly rest: string } => {
    let done = '';
    let at = 0;
    const pass = (to: number): void => {
      done += text.slice(at, to);
      at = to;
    };
    while (at < text.length) {
      if (until) {
        const end = text.slice(at).search(until);
        if (end < 0) {
          // The end may have begun.
          if (isLast) pass(text.length);
          else pass(Math.max(at, text.length - RAW_END_BYTES));
          break;
        }
        pass(at + end);
        until = undefined;
      }
      // What ended raw text is itself a tag, or '-->': on from its second character.
      const start = text.indexOf('<', at);
      if (start < 0) {
        pass(text.length);
        break;
      }
      pass(start);
      if (!isLast && text.length - at < '<!--'.length) break;
      if (text.startsWith('<!--', at)) {
        pass(at + '<!--'.length);
        until = /-->/;
        continue;
      }
      const name = /^<([a-z][a-z\d]*)/i.exec(text.slice(at, at + 16))?.[1]?.toLowerCase();
      if (name === undefined) {
        pass(at + 1);
        continue;
      }
      const end = endOfTag(text, at);
      if (end < 0 && !isLast && text.length - at < MAX_TAG_BYTES) break;
      if (end < 0) {
        pass(at + 1);
        continue;
      }
      done += rewriteTag(text.slice(at, end), { attributes: ATTRIBUTES[name] ?? [], rewrite });
      at = end;
      if (RAW_TEXT.has(name)) until = new RegExp(`</${name}`, 'i');
    }
    return { done, rest: text.slice(at) };
  };
  const push = (stream: Transform, chunk: Buffer, isLast: boolean): void => {
    const taken = take(rest + chunk.toString('latin1'), isLast);
    rest = taken.rest;
    if (taken.done !== '') stream.push(Buffer.from(taken.done, 'latin1'));
  };
  return new Transform({
    transform(chunk: Buffer, _, done: TransformCallback) {
      push(this, chunk, false);
      done();
    },
    flush(done: TransformCallback) {
      push(this, Buffer.alloc(0), true);
      done();
    },
  });
}

/** As long as the longest of '</textarea' and '-->'. */
const RAW_END_BYTES = 10;

/** Behind its '>', which does not count within quotes; -1: it is not there yet. */
function endOfTag(text: string, start: number): number {
  let quote = '';
  for (let at = start; at < text.length; at += 1) {
    const character = text[at] ?? '';
    if (quote !== '') {
      if (character === quote) quote = '';
    } else if (character === '>') return at + 1;
    else if (
      (character === '"' || character === "'") &&
      /=\s*$/.test(text.slice(Math.max(start, at - 8), at))
    )
      quote = character;
  }
  return -1;
}

const ATTRIBUTE = /([^\s"'<>/=]+)(\s*=\s*)(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+))/g;

function rewriteTag(
  tag: string,
  {
    attributes,
    rewrite,
  }: { readonly attributes: readonly string[]; readonly rewrite: (url: string) => string },
): string {
  if (attributes.length === 0) return tag;
  return tag.replaceAll(
    ATTRIBUTE,
    (
      whole,
      name: string,
      equals: string,
      double: string | undefined,
      single: string | undefined,
      bare: string | undefined,
    ) => {
      if (!attributes.includes(name.toLowerCase())) return whole;
      if (double !== undefined) return `${name}${equals}"${rewrite(double)}"`;
      return single === undefined
        ? `${name}${equals}${rewrite(bare ?? '')}`
        : `${name}${equals}'${rewrite(single)}'`;
    },
  );
}
