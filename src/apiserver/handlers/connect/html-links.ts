/**
 * Rewrites links in HTML served through the proxy subresource: links within the backend's host lead through the proxy, while the page is streamed.
 * htmlparser2's tokenizer reports tags, attributes and values by offset; everything but the value of such a link passes byte by byte. It builds no
 * tree and corrects nothing. After upstream's proxy transport.
 */
import { Transform, type TransformCallback } from 'node:stream';
import { Tokenizer } from 'htmlparser2';

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
/** Length of the longest name in the table: the overlap kept for a name that spans two chunks. */
const MAX_NAME_LENGTH = 10;
/** A link is buffered until it ends; a longer one passes unchanged. */
const MAX_LINK_BYTES = 64 * 1024;

/** rewrite receives the attribute's value as written. */
export function htmlLinks(rewrite: (url: string) => string): Transform {
  const rewriter = new LinkRewriter(rewrite);
  const push = (stream: Transform, text: string): void => {
    if (text !== '') stream.push(Buffer.from(text, 'latin1'));
  };
  return new Transform({
    transform(chunk: Buffer, _, done: TransformCallback) {
      // One character a byte, whatever the page's encoding: names, quotes and paths are ASCII.
      push(this, rewriter.write(chunk.toString('latin1')));
      done();
    },
    flush(done: TransformCallback) {
      push(this, rewriter.end());
      done();
    },
  });
}

const ignore = (): void => {};

/** Offsets count from the start of the page. */
class LinkRewriter {
  readonly #rewrite: (url: string) => string;
  readonly #tokenizer: Tokenizer;
  /** The pending text and the last few characters before it. */
  #text = '';
  #textOffset = 0;
  /** Offset of the pending text. */
  #passed = 0;
  #output = '';
  /** Of the tag that is open: those that are links. */
  #links: readonly string[] = [];
  /** The attribute that is open is one of them. */
  #isLink = false;
  /** Its value, as far as it has been read. */
  #value: { readonly start: number; end: number } | undefined;

  constructor(rewrite: (url: string) => string) {
    this.#rewrite = rewrite;
    this.#tokenizer = new Tokenizer(
      { decodeEntities: false },
      {
        onopentagname: (start, end) => this.#openTag(start, end),
        onattribname: (start, end) => this.#openAttribute(start, end),
        onattribdata: (start, end) => this.#readValue(start, end),
        onattribend: () => this.#closeAttribute(),
        onattribentity: ignore,
        oncdata: ignore,
        onclosetag: ignore,
        oncomment: ignore,
        ondeclaration: ignore,
        onend: ignore,
        onopentagend: ignore,
        onprocessinginstruction: ignore,
        onselfclosingtag: ignore,
        ontext: ignore,
        ontextentity: ignore,
      },
    );
  }

  /** Returns the text that may be sent. */
  write(chunk: string): string {
    this.#text += chunk;
    this.#tokenizer.write(chunk);
    if (this.#value && this.#value.end - this.#value.start > MAX_LINK_BYTES) {
      this.#value = undefined;
      this.#isLink = false;
    }
    return this.#take(this.#value?.start ?? this.#textOffset + this.#text.length);
  }

  /** A link that does not end is none. */
  end(): string {
    this.#tokenizer.end();
    return this.#take(this.#textOffset + this.#text.length);
  }

  #openTag(start: number, end: number): void {
    this.#links = ATTRIBUTES[this.#name(start, end)] ?? [];
  }

  #openAttribute(start: number, end: number): void {
    this.#isLink = this.#links.length > 0 && this.#links.includes(this.#name(start, end));
  }

  #readValue(start: number, end: number): void {
    if (!this.#isLink) return;
    this.#value ??= { start, end };
    this.#value.end = end;
  }

  #closeAttribute(): void {
    if (this.#value) {
      const { start, end } = this.#value;
      this.#pass(start);
      this.#output += this.#rewrite(this.#slice(start, end));
      this.#passed = end;
    }
    this.#value = undefined;
    this.#isLink = false;
  }

  /** In lower case; '' for one that is longer than any of ours. */
  #name(start: number, end: number): string {
    return end - start > MAX_NAME_LENGTH ? '' : this.#slice(start, end).toLowerCase();
  }

  #slice(start: number, end: number): string {
    return this.#text.slice(start - this.#textOffset, end - this.#textOffset);
  }

  #pass(to: number): void {
    this.#output += this.#slice(this.#passed, to);
    this.#passed = to;
  }

  #take(to: number): string {
    this.#pass(to);
    const keepFrom = Math.max(this.#textOffset, this.#passed - MAX_NAME_LENGTH);
    this.#text = this.#text.slice(keepFrom - this.#textOffset);
    this.#textOffset = keepFrom;
    const output = this.#output;
    this.#output = '';
    return output;
  }
}
