/** Expands $(NAME) in commands, arguments and values. '$$' is a dollar sign; an unresolved reference is left unchanged. Pure. */
export function expand(text: string, value: (name: string) => string | undefined): string {
  return text.replaceAll(/\$(?:\$|\(([^)]*)\))/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$';
    return value(name) ?? whole;
  });
}
