/** PEM (RFC 7468): writes blocks, and splits bundles of them. */
import { X509Certificate } from 'node:crypto';

/** The authorities that a whole operating system trusts are a hundred and fifty, in a quarter of a megabyte. */
const MAX_PEM_BYTES = 4 << 20;
const MAX_PEM_BLOCKS = 1000;
const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----/g;

/** What is no PEM, or more of it than is read. */
export class PemError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PemError';
  }
}

interface PemBlock {
  /** 'CERTIFICATE' */
  readonly label: string;
  readonly der: Buffer;
  /** The block as it stands in the text, without what is around it. */
  readonly text: string;
}

export function encodePem(label: string, der: Buffer): string {
  return `-----BEGIN ${label}-----\n${der.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;
}

/** The blocks of a text, whatever stands around them. Throws PemError for more than 1000 of them or 4 MiB. */
export function pemBlocks(text: string): PemBlock[] {
  if (text.length > MAX_PEM_BYTES) throw new PemError(`more than ${MAX_PEM_BYTES} bytes of PEM`);
  const blocks: PemBlock[] = [];
  for (const [whole, label = '', body = ''] of text.matchAll(BLOCK)) {
    if (blocks.length === MAX_PEM_BLOCKS) throw new PemError(`more than ${MAX_PEM_BLOCKS} PEM blocks`);
    blocks.push({ label, der: Buffer.from(body, 'base64'), text: `${whole}\n` });
  }
  return blocks;
}

/** The text of each block with this label: 'CERTIFICATE', 'PUBLIC KEY'. Throws PemError as pemBlocks does. */
export function splitPem(text: string, label: string): string[] {
  return pemBlocks(text).flatMap((block) => (block.label === label ? [block.text] : []));
}

/** The first private key of a text, of whatever kind; undefined without one. */
export function privateKeyPem(text: string): string | undefined {
  return pemBlocks(text).find(({ label }) => label.endsWith('PRIVATE KEY'))?.text;
}

/** The certificates of a bundle. Throws PemError as pemBlocks does, and for a block that is damaged, by its place: 'certificate 2 is damaged'. */
export function certificatesIn(bundle: string): X509Certificate[] {
  return splitPem(bundle, 'CERTIFICATE').map((text, index) => {
    try {
      return new X509Certificate(text);
    } catch {
      throw new PemError(`certificate ${index + 1} is damaged`);
    }
  });
}
