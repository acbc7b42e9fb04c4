/** Reports which CAs a node trusts and which issued its certificates, in an annotation of its Node. CA rotation waits for these reports. */
import { isJsonObject } from '#machinery/json.ts';

export const AUTHORITY_REPORT = 'capstan.dev/certificate-authorities';
/** ConfigMap kube-system/capstan-ca-rotation: nodes read 'ca.crt' from it. */
export const ROTATION_CONFIG_MAP = { name: 'capstan-ca-rotation', namespace: 'kube-system' } as const;

export interface AuthorityReport {
  /** 'sha256:HEX' of public keys. */
  readonly trusted: readonly string[];
  readonly used: readonly string[];
}

export function renderReport(report: AuthorityReport): string {
  return JSON.stringify({ trusted: report.trusted.toSorted(), used: report.used.toSorted() });
}

/** undefined when the annotation is invalid. */
export function parseReport(text: string | undefined): AuthorityReport | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    if (!isJsonObject(value)) return undefined;
    const texts = (name: string): string[] =>
      (Array.isArray(value[name]) ? value[name] : []).filter((item) => typeof item === 'string');
    return { trusted: texts('trusted'), used: texts('used') };
  } catch {
    return undefined;
  }
}
