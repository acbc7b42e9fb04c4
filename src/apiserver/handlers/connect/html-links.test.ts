import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { htmlLinks } from './html-links.ts';

const PAGE = `<!DOCTYPE html><html manifest=/m><head><title><a href="/no"></title><LINK rel=x HREF='/style.css'><!-- <a href="/no"> --><script src="/s.js">if (a<b) x = '<a href="/no">'</script>
<a class="/no" href="/one?a=1&amp;b=2">1 < 2</a><a href=three>3</a><img src=/i.png alt="a > b" longdesc = "/long"><p href="/no">ü</p><a data-href="/no">`;
const WANTED = `<!DOCTYPE html><html manifest=/p/m><head><title><a href="/no"></title><LINK rel=x HREF='/p/style.css'><!-- <a href="/no"> --><script src="/p/s.js">if (a<b) x = '<a href="/no">'</script>
<a class="/no" href="/p/one?a=1&amp;b=2">1 < 2</a><a href=three>3</a><img src=/p/i.png alt="a > b" longdesc = "/p/long"><p href="/no">ü</p><a data-href="/no">`;

async function through(text: string, size: number): Promise<string> {
  const bytes = Buffer.from(text);
  const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  );
  const parts: Buffer[] = [];
  for await (const part of Readable.from(chunks).pipe(
    htmlLinks((url) => (url.startsWith('/') ? `/p${url}` : url)),
  ))
    parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

test('links of a page lead through the proxy, however the page comes; the rest stays', async () => {
  for (const size of [1, 2, 3, 7, 64, 10_000])
    assert.equal(await through(PAGE, size), WANTED, `in pieces of ${size} bytes`);
});

test('what is no tag passes: an open one at the end, one without end, no HTML at all', async () => {
  for (const text of [
    'a <',
    '<a href="/x',
    '<!-- <a href="/x">',
    '<script>',
    'a < b > c',
    `<a ${'x'.repeat(100_000)}`,
    '',
    'plain',
  ])
    assert.equal(await through(text, 1000), text);
});
