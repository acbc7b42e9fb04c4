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

test('malformed HTML: links are where a browser sees them, and nothing else changes', async () => {
  for (const [page, wanted] of [
    // A '>' within quotes ends no tag, even where the '=' is far away.
    [`<a href=            "/a>b" x>`, `<a href=            "/p/a>b" x>`],
    // A quote in a name opens no value.
    [`<a x"y href='/a'>`, `<a x"y href='/p/a'>`],
    [`<a/href="/a"/>`, `<a/href="/p/a"/>`],
    [`<a href="/a"class="/no">`, `<a href="/p/a"class="/no">`],
    [`<a\nHREF\n=\n/a\n>`, `<a\nHREF\n=\n/p/a\n>`],
    [`<a =href="/no" href=/a>`, `<a =href="/no" href=/p/a>`],
    // Comments that are none end at the next '>'; those of scripts end none.
    [`<!-->x<a href="/a">`, `<!-->x<a href="/p/a">`],
    [`<!x <a href="/no"><a href="/a">`, `<!x <a href="/no"><a href="/p/a">`],
    [`<?x <a href="/no"><a href="/a">`, `<?x <a href="/no"><a href="/p/a">`],
    [
      `<style><a href="/no"></styl><a href="/no"></STYLE ><a href="/a">`,
      `<style><a href="/no"></styl><a href="/no"></STYLE ><a href="/p/a">`,
    ],
    [`<xmp><a href="/no"></xmp><a href=/a>`, `<xmp><a href="/no"></xmp><a href=/p/a>`],
    [`</a href="/no"><a href="/a">`, `</a href="/no"><a href="/p/a">`],
    [`<a href>/no<a href=>/no<a href="">`, `<a href>/no<a href=>/no<a href="">`],
    [`<a href="/\u00fc\u{1f600}">\u{1f600}`, `<a href="/p/\u00fc\u{1f600}">\u{1f600}`],
    [`<blockquote\tcite=/a><button formaction=/b>`, `<blockquote\tcite=/p/a><button formaction=/p/b>`],
  ] as const)
    for (const size of [1, 3, 1000]) assert.equal(await through(page, size), wanted, `${size}: ${page}`);
});

test('bytes that are no UTF-8 pass as they are', async () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 0x3c));
  const passed = await Readable.from([bytes, Buffer.from([0xff, 0xc3])])
    .pipe(htmlLinks(() => assert.fail('no link is here')))
    .toArray();
  assert.deepEqual(Buffer.concat(passed as Buffer[]), Buffer.concat([bytes, Buffer.from([0xff, 0xc3])]));
});

test('of a link that does not end no more than its bound is held back, and it passes as it is', async () => {
  const links = htmlLinks(() => assert.fail('no link is here'));
  const sink = links.setEncoding('latin1');
  let passed = '';
  sink.on('data', (text: string) => (passed += text));
  const chunk = 'x'.repeat(16 * 1024);
  let written = `<a href="/`;
  links.write(written);
  for (let index = 0; index < 64; index++) {
    written += chunk;
    await new Promise<void>((resolve) => links.write(chunk, () => resolve()));
    assert.ok(written.length - passed.length - sink.readableLength <= 96 * 1024);
  }
  written += `"><p>`;
  links.end(`"><p>`);
  await new Promise((resolve) => sink.on('end', resolve));
  assert.equal(passed, written);
});
