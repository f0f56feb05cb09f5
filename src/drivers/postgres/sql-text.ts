// Names and values in statements that take no parameters.

export const quote = (identifier: string): string => `"${identifier.replaceAll('"', '""')}"`;
export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;
