/** Below this much free space nothing is uploaded or built: the rest belongs to what runs. */
export const DISK_RESERVE_BYTES = 256 * 1024 ** 2;

export const IGNORE_HINT =
  "keep what is not needed out with a .holdfastignore file (the syntax of .gitignore)";
