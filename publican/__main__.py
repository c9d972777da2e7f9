from publican.cli import main

if __name__ == "__main__":
    main()
