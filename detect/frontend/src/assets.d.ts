/** Files that esbuild takes in, as TypeScript sees them. */
declare module "*.css";
