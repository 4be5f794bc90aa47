for (const pre of document.querySelectorAll("pre")) {
	const button = document.createElement("button");
	button.textContent = pre.dataset.copy;
	button.onclick = async () => {
		try {
			await navigator.clipboard.writeText(pre.textContent);
		} catch { // over plain HTTP, pages have no clipboard
			getSelection().selectAllChildren(pre);
			document.execCommand("copy");
		}
		button.textContent = pre.dataset.copied;
	};
	pre.before(button);
}
